#include "models/initialization.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>

#include "models/cnn.h"
#include "models/mlp.h"
#include "models/networks.h"
#include "models/resnet.h"

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
  initialize(*network, output, {.kind = Initialization::he}, generator(2));
  expect_normal(wide->weight, std::sqrt(2.0 / (40 * 9)));
  expect_normal(grouped->weight, std::sqrt(2.0 / (20 * 25)));
  expect_normal(output->weight, std::sqrt(1.0 / 90));
  for (const auto& bias : {wide->bias, grouped->bias, output->bias}) EXPECT_EQ(bias.abs().max().item<double>(), 0);
  initialize(*network, output, {.kind = Initialization::glorot}, generator(2));
  expect_normal(wide->weight, std::sqrt(2.0 / (40 * 9 + 60 * 9)));
  initialize(*network, output, {.kind = Initialization::lecun}, generator(2));
  expect_normal(wide->weight, std::sqrt(1.0 / (40 * 9)));
  // With He's variance of the weights, 1/2 of the input's second moment being lost in ReLU, the signal's is kept.
  initialize(*network, output, {.kind = Initialization::he}, generator(3));
  const auto x = at::randn({4, 40, 12, 12}, generator(4), torch::TensorOptions(torch::kFloat));
  EXPECT_NEAR(wide->forward(x.relu()).square().mean().item<double>(), 1, 0.1);
}

TEST(Initialize, DrawsDoNotDependOnTheLayout) {
  using Draw = std::function<void(const torch::Tensor&)>;
  for (const auto& draw : {Draw([](const torch::Tensor& weight) { draw_normal(weight, 0.5, generator(1)); }),
                           Draw([](const torch::Tensor& weight) { draw_orthogonal(weight, generator(1)); }),
                           Draw([](const torch::Tensor& weight) { draw_uniform(weight, 0.5, generator(1)); })}) {
    torch::nn::Conv2d a(Conv2dOptions(6, 10, 3)), b(Conv2dOptions(6, 10, 3));
    b->weight.set_data(b->weight.contiguous(torch::MemoryFormat::ChannelsLast));
    draw(a->weight);
    draw(b->weight);
    EXPECT_TRUE(a->weight.equal(b->weight));
    EXPECT_TRUE(b->weight.is_contiguous(torch::MemoryFormat::ChannelsLast));
  }
}

// Of all orthonormal Q, one alone makes Q^T G upper triangular with a positive diagonal.
TEST(Orthogonal, IsTheFactorOfTheNormalDrawsWithAPositiveDiagonal) {
  const auto options = torch::TensorOptions(torch::kDouble);
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{5, 9}, {9, 5}, {7, 7}, {1, 4}, {6, 4, 3, 3}, {40, 2, 3, 3}}) {
    auto weight = torch::empty(shape, options), normal = torch::empty(shape, options);
    draw_orthogonal(weight, generator(3));
    draw_normal(normal, 1, generator(3));
    auto q = weight.reshape({shape[0], -1}), g = normal.reshape({shape[0], -1});
    if (q.size(0) < q.size(1)) q = q.t(), g = g.t();
    const auto fewer = torch::eye(q.size(1), options);
    EXPECT_TRUE(q.t().matmul(q).allclose(fewer, 0, 1e-12)) << shape;
    const auto r = q.t().matmul(g);
    EXPECT_LT(r.tril(-1).abs().max().item<double>(), 1e-12) << shape;
    EXPECT_GT(r.diagonal().min().item<double>(), 0) << shape;
  }
}

TEST(OrthogonalGain, IsTheOrthogonalDrawTimesTheFixedGain) {
  const auto draw = [](Initialization kind, torch::nn::Linear layer) {
    torch::nn::Linear output(layer->options.out_features(), 2);
    torch::nn::Sequential network(layer, output);
    initialize(*network, output,
               {.kind = kind, .activation = parse_activation("relu"), .normalization = {.solution = Solution::forward}},
               generator(9));
    return std::make_pair(layer->weight.detach(), output->weight.detach());
  };
  for (const auto& [inputs, outputs] : {std::pair<std::int64_t, std::int64_t>{9, 5}, {3, 12}, {7, 7}}) {
    const torch::nn::LinearOptions options(inputs, outputs);
    const auto [weight, last] = draw(Initialization::orthogonal_gain, torch::nn::Linear(options));
    const auto [orthogonal, same_last] = draw(Initialization::orthogonal, torch::nn::Linear(options));
    // ReLU keeps half of the second moment.
    EXPECT_TRUE(weight.allclose(std::sqrt(2.0) * orthogonal, 1e-6, 1e-7)) << inputs;
    EXPECT_NEAR(weight.square().sum(1).mean().item<double>(), 2, 1e-5) << inputs;
    EXPECT_TRUE(last.equal(same_last));
  }
}

TEST(Orthogonal, TakesTheDrawsThatTheOthersTake) {
  const auto weights = [](Initialization kind) {
    CNN model(CNNOptions{.classes = 5, .widths = {6, 8}, .activation = plain("silu")});
    model->initialize({.kind = kind}, generator(9));
    return parameters_of(*model);
  };
  const auto orthogonal = weights(Initialization::orthogonal), he = weights(Initialization::he);
  EXPECT_TRUE(orthogonal.at("output.weight").equal(he.at("output.weight")));
  const auto rows = orthogonal.at("conv3.weight").flatten(1);
  EXPECT_TRUE(rows.matmul(rows.t()).allclose(torch::eye(8), 0, 1e-5));
  EXPECT_EQ(orthogonal.at("conv3.bias").abs().max().item<double>(), 0);
  // Where there are more outputs than inputs, only the mean of the rows' squared norms can be 1.
  torch::nn::Linear tall(3, 12);
  torch::nn::Linear output(12, 2);
  torch::nn::Sequential network(tall, output);
  initialize(*network, output, {.kind = Initialization::orthogonal}, generator(9));
  EXPECT_NEAR(tall->weight.square().sum(1).mean().item<double>(), 1, 1e-5);
  EXPECT_TRUE(tall->weight.t().matmul(tall->weight).allclose(4 * torch::eye(3), 0, 1e-5));
}

// The layers' own constructors draw from the default generator in the same order.
TEST(PyTorchsInitialization, IsWhatTheLayersBeginWith) {
  const auto expect_same = [](const std::function<std::shared_ptr<Network>()>& make) {
    torch::manual_seed(21);
    const auto drawn_by_torch = make();
    const auto drawn = make();
    drawn->initialize({.kind = Initialization::pytorch}, generator(21));
    const auto expected = parameters_of(*drawn_by_torch), found = parameters_of(*drawn);
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, values] : expected) EXPECT_TRUE(found.at(name).allclose(values, 1e-6, 1e-9)) << name;
  };
  expect_same([] {
    return MLP(MLPOptions{.inputs = 7, .classes = 3, .depth = 3, .width = 9, .activation = plain("relu")}).ptr();
  });
  expect_same([] {
    return CNN(CNNOptions{.classes = 3, .widths = {5, 6}, .norm = Norm::batch, .activation = plain("relu")}).ptr();
  });
  expect_same([] { return ResNet(ResNetOptions{.classes = 3, .activation = plain("relu")}).ptr(); });
}

TEST(GainInitialization, UsesTheNormalizationItIsGiven) {
  const auto deviation = [](const NormalizationOptions& normalization) {
    return standard_deviation(
        {.kind = Initialization::gain, .activation = parse_activation("relu"), .normalization = normalization}, 100, 1);
  };
  // ReLU under N(0, 1): s = rho' = 1/2 and mu^2 = 1 / (2 pi).
  const double centred = 0.5 - 1 / (2 * M_PI);
  EXPECT_NEAR(deviation({.solution = Solution::forward}), std::sqrt(2.0) / 10, 1e-12);
  EXPECT_NEAR(deviation({.solution = Solution::forward, .gain = Gain::output}), std::sqrt(1 / centred) / 10, 1e-12);
  const NormalizationOptions compromise{.solution = Solution::compromise, .gain = Gain::output};
  EXPECT_NEAR(deviation(compromise), std::sqrt((1 / centred + 2) / 2) / 10, 1e-12);
  EXPECT_NEAR(deviation({.solution = Solution::geometric, .gain = Gain::output}), std::pow(centred / 2, -0.25) / 10,
              1e-12);
  EXPECT_NEAR(deviation({.lambda_max = 1.25}), 0.125, 1e-12);
}

}  // namespace
}  // namespace anact::models
