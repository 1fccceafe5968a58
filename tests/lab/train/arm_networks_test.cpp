// Every network that an arm can make trains.

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <string>

#include "train/arm.h"

namespace anact::train {
namespace {

// Two steps on four images of 8x8.
void expect_to_train(const std::string& model, const std::string& text) {
  SCOPED_TRACE(model + " " + text);
  const auto arm = parse_arm(text);
  const auto network = models::make_network(arm.applied_to({.name = model,
                                                            .channels = 3,
                                                            .height = 8,
                                                            .width = 8,
                                                            .classes = 3,
                                                            .depth = 2,
                                                            .units = 20,
                                                            .widths = {4, 6},
                                                            .blocks = 1,
                                                            .activation = {}}));
  network->initialize(arm.weights(), at::detail::createCPUGenerator(1));
  torch::optim::SGD optimizer(network->parameters(), torch::optim::SGDOptions(1e-4).momentum(0.9));
  const auto images = at::randn({4, 3, 8, 8}, at::detail::createCPUGenerator(2), torch::TensorOptions(torch::kFloat));
  const auto labels = torch::tensor({0, 1, 2, 0}, torch::kLong);
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::nn::functional::cross_entropy(network->forward(images), labels);
    ASSERT_TRUE(std::isfinite(loss.item<double>()));
    loss.backward();
    optimizer.step();
  }
  for (const auto& item : network->named_parameters()) {
    EXPECT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_TRUE(item.value().isfinite().all().item<bool>()) << item.key();
  }
  network->eval();
  EXPECT_TRUE(network->forward(images).isfinite().all().item<bool>());
}

TEST(ArmNetworks, OfEveryCombinationTrain) {
  for (const std::string activation : {"silu", "nsilu", "prelu"}) {
    for (const std::string norm : {"", ":norm=none", ":norm=batch", ":norm=group", ":norm=layer"}) {
      for (const std::string ws : {"", ":ws=scaled"}) {
        const auto arm = activation + norm + ws;
        expect_to_train("mlp", arm);
        expect_to_train("cnn", arm);
        for (const std::string residual : {"", ":residual=pre", ":residual=nf"}) {
          for (const std::string skip : {"", ":skipinit=on"}) expect_to_train("resnet20", arm + residual + skip);
        }
      }
    }
  }
}

TEST(ArmNetworks, OfTheLiteratureTrainWithProjectionsAndBottlenecks) {
  for (const std::string arm :
       {"silu:norm=none:ws=scaled:residual=nf:skipinit=on", "silu:norm=none:residual=pre:skipinit=on",
        "silu:norm=group", "nsilu:norm=none:residual=pre:skipinit=on", "swish-beta:residual=pre"}) {
    for (const std::string model : {"resnet18", "resnet50"}) expect_to_train(model, arm);
  }
}

}  // namespace
}  // namespace anact::train
