#include "models/cost.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/conv.h>

#include "models/catalogue.h"
#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;

NetworkOptions options(const std::string& name, std::int64_t classes, std::int64_t side) {
  return {.name = name, .channels = 3, .height = side, .width = side, .classes = classes, .activation = plain("relu")};
}

Cost cost_of(const NetworkOptions& given) {
  return cost(*make_network(given), given.channels, given.height, given.width);
}

// Parameters and multiply-adds as torchvision's documentation gives them for images of 224x224.
TEST(Cost, OfTorchvisionsNetworks) {
  struct Case {
    const char* name;
    std::int64_t parameters;
    double giga;
    std::int64_t activations;
  };
  for (const auto& [name, parameters, giga, activations] :
       {Case{"resnet18", 11'689'512, 1.814, 17}, Case{"resnet34", 21'797'672, 3.664, 33},
        Case{"resnet50", 25'557'032, 4.089, 49}}) {
    auto given = options(name, 1000, 224);
    given.stem = ResNetStem::imagenet;
    const auto found = cost_of(given);
    EXPECT_EQ(found.parameters, parameters) << name;
    EXPECT_NEAR(1e-9 * static_cast<double>(found.multiply_adds), giga, 5.1e-4) << name;
    EXPECT_EQ(found.activations, activations) << name;
  }
}

// A 3x3 convolution for each of n, 2n + 1 of them on 32x32, and 2n on 16x16 and 8x8, each first one from half the
// channels; then the average and one linear layer. Parameters in millions from He et al. (2016), table 6.
TEST(Cost, OfTheNetworksForCifar) {
  for (const auto& [n, millions] : {std::pair<std::int64_t, double>{3, 0.27}, {9, 0.85}, {18, 1.7}}) {
    const auto found = cost_of(options("resnet" + std::to_string(6 * n + 2), 10, 32));
    const std::int64_t first = 1024 * (3 * 16 + 2 * n * 16 * 16);
    const std::int64_t second = 256 * (16 * 32 + (2 * n - 1) * 32 * 32);
    const std::int64_t third = 64 * (32 * 64 + (2 * n - 1) * 64 * 64);
    EXPECT_EQ(found.multiply_adds, 9 * (first + second + third) + 64 * 10);
    EXPECT_NEAR(1e-6 * static_cast<double>(found.parameters), millions, n == 18 ? 0.05 : 0.005);
    EXPECT_EQ(found.activations, 6 * n + 1);
  }
}

TEST(Cost, OfPlainNetworks) {
  auto mlp = options("mlp", 7, 5);
  mlp.depth = 3;
  mlp.units = 11;
  const auto of_mlp = cost_of(mlp);
  EXPECT_EQ(of_mlp.multiply_adds, 75 * 11 + 2 * 11 * 11 + 11 * 7);
  EXPECT_EQ(of_mlp.parameters, 76 * 11 + 2 * 12 * 11 + 12 * 7);
  EXPECT_EQ(of_mlp.activations, 3);
  auto cnn = options("cnn", 7, 9);
  cnn.width = 13;
  cnn.widths = {4, 6};
  for (const auto norm : {Norm::none, Norm::batch, Norm::group, Norm::layer}) {
    cnn.norm = norm;
    const auto of_cnn = cost_of(cnn);
    EXPECT_EQ(of_cnn.multiply_adds, 9 * (9 * 13 * (3 * 4 + 4 * 4) + 4 * 6 * (4 * 6 + 6 * 6)) + 6 * 7);
    EXPECT_EQ(of_cnn.activations, 4);
  }
}

TEST(Cost, LeavesTheNetworkAsItWas) {
  auto given = options("resnet20", 10, 16);
  given.activation = normalized("silu");
  const auto network = make_network(given);
  std::map<std::string, torch::Tensor> before;
  for (const auto& item : network->named_buffers()) before[item.key()] = item.value().clone();
  for (const bool training : {true, false}) {
    network->train(training);
    const auto found = cost(*network, 3, 16, 16);
    EXPECT_EQ(found.parameters, 269'722 + 19);  // one alpha each
    EXPECT_EQ(cost(*network, 3, 16, 16).multiply_adds, found.multiply_adds);
    EXPECT_EQ(network->is_training(), training);
  }
  for (const auto& item : network->named_buffers())
    EXPECT_TRUE(item.value().equal(before.at(item.key()))) << item.key();
  for (const auto& parameter : network->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST(Cost, OfAnotherDtypeThanTheDefault) {
  auto given = options("resnet20", 10, 16);
  const auto network = make_network(given);
  const auto expected = cost(*network, 3, 16, 16).multiply_adds;
  network->to(torch::kDouble);
  EXPECT_EQ(cost(*network, 3, 16, 16).multiply_adds, expected);
}

}  // namespace
}  // namespace anact::models
