#include "models/initialization.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>

#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;
using torch::nn::Conv2dOptions;

TEST(Fans, CountTheKernelAndTheGroups) {
  const auto pair = [](const Fans& fans) { return std::make_pair(fans.inputs, fans.outputs); };
  EXPECT_EQ(pair(fans(torch::empty({5, 7}))), std::make_pair(std::int64_t{7}, std::int64_t{5}));
  const torch::nn::Conv2d conv(Conv2dOptions(8, 12, {3, 5}));
  EXPECT_EQ(pair(fans(conv->weight)), std::make_pair(std::int64_t{8 * 15}, std::int64_t{12 * 15}));
  // Each output sees two of the eight input channels.
  const torch::nn::Conv2d grouped(Conv2dOptions(8, 12, 3).groups(4));
  EXPECT_EQ(pair(fans(grouped->weight)), std::make_pair(std::int64_t{2 * 9}, std::int64_t{12 * 9}));
}

TEST(Initialize, KeepsTheVarianceThatEachFanAsksFor) {
  torch::nn::Conv2d wide(Conv2dOptions(40, 60, 3)), grouped(Conv2dOptions(60, 90, 5).groups(3));
  torch::nn::Linear output(90, 200);
  torch::nn::Sequential network(wide, grouped, output);
  const auto silu = parse_activation("silu");
  initialize(*network, output, Initialization::he, silu, generator(2));
  expect_normal(wide->weight, std::sqrt(2.0 / (40 * 9)));
  expect_normal(grouped->weight, std::sqrt(2.0 / (20 * 25)));
  expect_normal(output->weight, std::sqrt(1.0 / 90));
  for (const auto& bias : {wide->bias, grouped->bias, output->bias}) EXPECT_EQ(bias.abs().max().item<double>(), 0);
  initialize(*network, output, Initialization::glorot, silu, generator(2));
  expect_normal(wide->weight, std::sqrt(2.0 / (40 * 9 + 60 * 9)));
  initialize(*network, output, Initialization::lecun, silu, generator(2));
  expect_normal(wide->weight, std::sqrt(1.0 / (40 * 9)));
  // With He's variance of the weights, 1/2 of the input's second moment being lost in ReLU, the signal's is kept.
  initialize(*network, output, Initialization::he, parse_activation("relu"), generator(3));
  const auto x = at::randn({4, 40, 12, 12}, generator(4), torch::TensorOptions(torch::kFloat));
  EXPECT_NEAR(wide->forward(x.relu()).square().mean().item<double>(), 1, 0.1);
}

TEST(Initialize, DrawsDoNotDependOnTheLayout) {
  torch::nn::Conv2d a(Conv2dOptions(6, 10, 3)), b(Conv2dOptions(6, 10, 3));
  b->weight.set_data(b->weight.contiguous(torch::MemoryFormat::ChannelsLast));
  draw_normal(a->weight, 0.5, generator(1));
  draw_normal(b->weight, 0.5, generator(1));
  EXPECT_TRUE(a->weight.equal(b->weight));
  EXPECT_TRUE(b->weight.is_contiguous(torch::MemoryFormat::ChannelsLast));
}

}  // namespace
}  // namespace anact::models
