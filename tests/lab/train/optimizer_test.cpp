// The fused optimizers against LibTorch's own, which are another implementation.

#include "train/optimizer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "math/names.h"
#include "support/message.h"
#include "text/words.h"

namespace anact::train {
namespace {

class Toy : public torch::nn::Module {
 public:
  Toy() {
    torch::manual_seed(3);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 5, 3).bias(false)));
    norm = register_module("norm", torch::nn::BatchNorm2d(5));
    linear = register_module("linear", torch::nn::Linear(5, 4));
    unused = register_parameter("unused", torch::ones({2, 2}));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return linear->forward(norm->forward(conv->forward(x)).relu().mean({2, 3}));
  }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
  torch::nn::Linear linear{nullptr};
  torch::Tensor unused;
};

std::vector<torch::Tensor> weights_of(const torch::nn::Module& module, bool matrices) {
  std::vector<torch::Tensor> found;
  for (const auto& parameter : module.parameters()) {
    if ((parameter.dim() >= 2) == matrices) found.push_back(parameter);
  }
  return found;
}

// Takes six steps with both and compares every parameter.
template <class Reference>
void expect_same_steps(const Config& config, Reference make_reference) {
  Toy mine, other;
  const auto optimizer = make_optimizer(mine, config);
  const auto reference = make_reference(other);
  const auto x = torch::randn({7, 3, 6, 6});
  for (int step = 0; step < 6; ++step) {
    optimizer->zero_grad();
    mine.forward(x).square().sum().backward();
    optimizer->step(config.learning_rate);
    reference->zero_grad();
    other.forward(x).square().sum().backward();
    reference->step();
  }
  const auto expected = other.parameters(), found = mine.parameters();
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(torch::allclose(found[i], expected[i], 1e-5, 1e-6)) << i;
  }
  EXPECT_TRUE(torch::equal(mine.unused, torch::ones({2, 2})));
  EXPECT_FALSE(torch::allclose(mine.linear->weight, Toy().linear->weight));
}

TEST(Optimizer, SgdIsPyTorchs) {
  for (const bool nesterov : {false, true}) {
    for (const double momentum : {0.0, 0.9}) {
      if (nesterov && momentum == 0) continue;
      Config config;
      config.learning_rate = 0.01;
      config.momentum = momentum;
      config.nesterov = nesterov;
      config.weight_decay = 0.1;
      config.decay_all = true;
      expect_same_steps(config, [&](Toy& toy) {
        return std::make_unique<torch::optim::SGD>(
            toy.parameters(), torch::optim::SGDOptions(0.01).momentum(momentum).nesterov(nesterov).weight_decay(0.1));
      });
    }
  }
}

TEST(Optimizer, AdamWIsPyTorchsAndSparesWhatItShould) {
  Config config;
  config.optimizer = "adamw";
  config.learning_rate = 0.01;
  config.weight_decay = 0.3;
  expect_same_steps(config, [](Toy& toy) {
    const auto options = [](double decay) {
      return std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(0.01).weight_decay(decay));
    };
    std::vector<torch::optim::OptimizerParamGroup> groups;
    groups.emplace_back(weights_of(toy, true), options(0.3));
    groups.emplace_back(weights_of(toy, false), options(0));
    return std::make_unique<torch::optim::AdamW>(groups);
  });
}

TEST(Optimizer, ClipsTheNormOfAllGradientsTogether) {
  Toy toy;
  const auto optimizer = make_optimizer(toy, {});
  toy.forward(torch::randn({7, 3, 6, 6})).square().sum().backward();
  const auto norm = [&] {
    double sum = 0;
    for (const auto& parameter : toy.parameters()) {
      if (parameter.grad().defined()) sum += parameter.grad().square().sum().item<double>();
    }
    return std::sqrt(sum);
  };
  const double before = norm();
  optimizer->clip_gradients(2 * before);
  EXPECT_EQ(norm(), before);
  optimizer->clip_gradients(before / 8);
  EXPECT_NEAR(norm(), before / 8, 1e-5 * before);
}

TEST(Optimizer, ItsStateGoesByTheParametersNames) {
  Toy toy;
  Config config;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : make_optimizer(toy, config)->state()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"unused.first", "conv.weight.first", "linear.weight.first",
                                             "norm.weight.first", "norm.bias.first", "linear.bias.first"}));
  config.momentum = 0;
  EXPECT_TRUE(make_optimizer(toy, config)->state().empty());
  config.optimizer = "adamw";
  const auto state = make_optimizer(toy, config)->state();
  EXPECT_EQ(state.size(), 18u);
  // What checkpoints are made of, in their order.
  EXPECT_EQ(state[0].first, "unused.first");
  EXPECT_EQ(state[1].first, "unused.second");
  EXPECT_EQ(state[2].first, "unused.steps");
  EXPECT_EQ(state[2].second.dim(), 0);
}

TEST(Optimizer, IsMadeByItsName) {
  Config config;
  config.optimizer = "adam";
  EXPECT_EQ(message([&] { (void)make_optimizer(Toy(), config); }),
            "unknown optimizer 'adam'; did you mean adamw; there are sgd, adamw");
  for (const auto& info : optimizers()) {
    config.optimizer = info.name;
    EXPECT_NO_THROW(validate(config)) << info.name;
    EXPECT_NE(make_optimizer(Toy(), config), nullptr) << info.name;
  }
  // The flag's help names them all.
  const auto help = std::ranges::find(settings(), "--optimizer", &Setting::flag)->help;
  EXPECT_EQ(help, text::join(names_of(optimizers()), " or "));
}

}  // namespace
}  // namespace anact::train
