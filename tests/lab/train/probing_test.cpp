#include "train/probing.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <functional>
#include <string>

#include "models/catalogue.h"
#include "train/arm.h"

namespace anact::train {
namespace {

constexpr std::int64_t kDepth = 3;

std::shared_ptr<models::Network> make(const std::string& arm_text, const std::string& model = "mlp") {
  const auto arm = parse_arm(arm_text);
  auto network = models::make_network(arm.applied_to({.name = model,
                                                      .channels = 3,
                                                      .height = 8,
                                                      .width = 8,
                                                      .classes = 4,
                                                      .depth = kDepth,
                                                      .units = 12,
                                                      .widths = {6, 8},
                                                      .blocks = 2,
                                                      .norm = {},
                                                      .stem = models::ResNetStem::cifar,
                                                      .activation = {}}));
  network->initialize(arm.weights(), at::detail::createCPUGenerator(5));
  return network;
}

torch::Tensor images() {
  return at::randn({10, 3, 8, 8}, at::detail::createCPUGenerator(6), torch::TensorOptions(torch::kFloat));
}
torch::Tensor labels() { return torch::arange(10, torch::kLong).remainder(4); }

// The probe squares in single precision and adds up in double.
void expect_close(const nlohmann::json& found, const std::vector<torch::Tensor>& tensors,
                  const std::function<double(const torch::Tensor&)>& expected) {
  ASSERT_EQ(found.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const double value = expected(tensors[i].detach().to(torch::kDouble));
    EXPECT_NEAR(found[i].get<double>(), value, 1e-6 * std::abs(value)) << i;
  }
}

// The same from the modules, called one by one.
void expect_what_the_modules_give(const std::string& arm) {
  const auto network = make(arm);
  const auto found = measure_layers(*network, images(), labels());
  std::vector<torch::Tensor> linear, activations;
  auto x = images().flatten(1);
  const auto modules = network->named_children();
  for (std::int64_t layer = 0; layer < kDepth; ++layer) {
    linear.push_back(modules["linear" + std::to_string(layer)]->as<torch::nn::Linear>()->forward(x));
    const auto& activation = modules["activation" + std::to_string(layer)];
    if (auto* plain = activation->as<models::PlainActivation>()) {
      x = plain->forward(linear.back());
    } else {
      x = activation->as<nn::ANAct>()->forward(linear.back());
    }
    activations.push_back(x);
  }
  const auto logits = modules["output"]->as<torch::nn::Linear>()->forward(x);
  const auto gradients = torch::autograd::grad({torch::nn::functional::cross_entropy(logits, labels())}, linear);
  expect_close(found.at("gradient_variance"), gradients,
               [](const auto& t) { return (t - t.mean()).square().mean().template item<double>(); });
  expect_close(found.at("activation_second_moment"), activations,
               [](const auto& t) { return t.square().mean().template item<double>(); });
}

TEST(MeasureLayers, IsWhatTheModulesGive) {
  for (const auto& info : activation_catalogue()) {
    SCOPED_TRACE(info.name);
    expect_what_the_modules_give(std::string(info.name));
    expect_what_the_modules_give(std::string("n").append(info.name));
  }
}

TEST(MeasureLayers, FollowsTheMainPathAndLeavesNoTrace) {
  for (const auto& [model, arms] :
       {std::pair<std::string, std::vector<std::string>>{"cnn", {"silu", "nsilu", "prelu", "silu:norm=layer"}},
        {"resnet20",
         {"silu", "nsilu:norm=group", "silu:norm=none:ws=scaled:residual=nf:skipinit=on",
          "nsilu:norm=none:residual=pre"}},
        {"resnet18", {"nsilu", "swish-beta"}},
        {"resnet50", {"nsilu"}}}) {
    SCOPED_TRACE(model);
    for (const auto& arm : arms) {
      const auto network = make(arm, model);
      std::vector<torch::Tensor> before;
      for (const auto& buffer : network->buffers()) before.push_back(buffer.clone());
      const auto found = measure_layers(*network, images(), labels());
      EXPECT_EQ(found.at("gradient_variance").size(), network->main_path().size());
      EXPECT_EQ(found.at("activation_second_moment").size(), network->main_path().size());
      EXPECT_EQ(found.contains("lambda"), arm.starts_with("n"));
      EXPECT_EQ(found, measure_layers(*network, images(), labels()));
      const auto after = network->buffers();
      for (std::size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(torch::equal(after[i], before[i])) << i;
      for (const auto& parameter : network->parameters()) EXPECT_FALSE(parameter.grad().defined());
    }
  }
}

}  // namespace
}  // namespace anact::train
