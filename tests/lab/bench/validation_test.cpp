#include "bench/validation.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <stdexcept>
#include <string>

#include "anact/nn.h"

namespace anact::bench {
namespace {

struct Step {
  torch::Tensor x, g, y, dx, dalpha;
};

Step first_step(const Activation& activation, torch::Dtype type, std::int64_t size) {
  torch::manual_seed(1);
  const auto x = torch::randn({size}).to(type).requires_grad_(true);
  const auto g = torch::randn({size}).to(type);
  nn::ANAct module(activation);
  const auto y = module->forward(x);
  const auto gradients = torch::autograd::grad({y}, {x, module->alpha}, {g});
  return {x.detach(), g, y.detach(), gradients[0], gradients[1]};
}

std::string refusal(const Activation& activation, const Step& step) {
  try {
    check_first_step(activation, step.x, step.g, step.y, step.dx, step.dalpha);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST(CheckFirstStep, TakesEveryActivationInEveryType) {
  for (const auto& info : activation_catalogue()) {
    for (const auto type : {torch::kFloat, torch::kDouble, torch::kBFloat16, torch::kHalf}) {
      for (const std::int64_t size : {33, 4099}) {
        const auto activation = make_activation(info.kind);
        EXPECT_EQ(refusal(activation, first_step(activation, type, size)), "")
            << info.name << " " << type << " " << size;
      }
    }
  }
}

TEST(CheckFirstStep, RefusesWhatIsOffByTwoUnitsInTheLastPlace) {
  for (const char* name : {"silu", "sigmoid", "hardsigmoid", "relu"}) {
    const auto activation = parse_activation(name);
    for (const auto type : {torch::kBFloat16, torch::kHalf}) {
      const auto right = first_step(activation, type, 4099);
      const double unit = type == torch::kBFloat16 ? 0.0078125 : 0.0009765625;
      const auto far = right.y.abs().argmax().item<std::int64_t>();
      auto wrong = right;
      wrong.y = right.y.clone();
      wrong.y[far] = right.y[far] * (1 + 2 * unit);
      EXPECT_NE(refusal(activation, wrong).find("output of " + activation.to_string() + " is"), std::string::npos)
          << name;
      EXPECT_NE(refusal(activation, wrong).find("at element " + std::to_string(far)), std::string::npos) << name;
      wrong = right;
      wrong.dx = right.dx.clone();
      const auto steep = right.dx.abs().argmax().item<std::int64_t>();
      wrong.dx[steep] = right.dx[steep] * (1 - 2 * unit);
      EXPECT_NE(refusal(activation, wrong).find("input's gradient"), std::string::npos) << name;
    }
  }
  // As if the largest term were missing in the sum of alpha's gradient.
  for (const auto& info : activation_catalogue()) {
    const auto activation = make_activation(info.kind);
    for (const auto type : {torch::kFloat, torch::kDouble, torch::kBFloat16, torch::kHalf}) {
      auto wrong = first_step(activation, type, 4099);
      const auto f = (wrong.y.to(torch::kDouble) - wrong.y.to(torch::kDouble).mean()).abs();
      const auto term = (wrong.g.to(torch::kDouble).abs() * f).max() * kAlphaRange;
      wrong.dalpha = wrong.dalpha + term.to(wrong.dalpha.scalar_type());
      EXPECT_NE(refusal(activation, wrong).find("alpha's gradient"), std::string::npos) << info.name << " " << type;
    }
  }
  // A map of other statistics, which changes every element a little.
  const auto activation = parse_activation("silu");
  auto wrong = first_step(activation, torch::kFloat, 4099);
  wrong.y = wrong.y * 1.0001;
  EXPECT_NE(refusal(activation, wrong), "");
}

}  // namespace
}  // namespace anact::bench
