// The double-precision specification and the plain versions against PyTorch's own activations and autograd.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/oracle.h"

namespace anact::ops::test {
namespace {

std::vector<Activation> every_activation() {
  std::vector<Activation> all;
  for (const auto& info : activation_catalogue()) all.push_back(make_activation(info.kind));
  for (const char* text :
       {"leaky_relu(0.2)", "elu(0.5)", "celu(2)", "softplus(2, 5)", "hardtanh(-2, 0.5)", "softshrink(0.25)"}) {
    all.push_back(parse_activation(text));
  }
  return all;
}

// A grid that hits the kinks exactly, and the far tails.
at::Tensor grid() {
  return at::cat({at::linspace(-8, 8, 16001, at::kDouble), at::linspace(-100, 100, 2001, at::kDouble),
                  at::tensor({0.0, -0.0, 1e-300, -1e-300, 1e-5, -1e-5, 30.0, -30.0}, at::kDouble)});
}

// PyTorch keeps these two constants in float32, so its own double results are off by this much.
double torch_inaccuracy(ActivationKind kind) {
  return kind == ActivationKind::hardsigmoid || kind == ActivationKind::celu ? 1e-8 : 0;
}

class EveryActivation : public testing::TestWithParam<Activation> {};

TEST_P(EveryActivation, SpecificationAgreesWithTorchInDouble) {
  const auto x = grid();
  const auto [value, slope] = reference(GetParam(), x);
  const double allowed = torch_inaccuracy(GetParam().kind);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const double at = x[i].item<double>();
    const double f = value[i].item<double>();
    const double d = slope[i].item<double>();
    ASSERT_NEAR(GetParam().value(at), f, 2e-15 * (1 + std::abs(f)) + allowed * std::abs(f)) << at;
    ASSERT_NEAR(GetParam().derivative(at), d, 1e-14 * (1 + std::abs(d)) + allowed) << at;
  }
}

TEST_P(EveryActivation, PlainDerivativeAgreesWithAutograd) {
  const auto x = grid();
  const auto slope = reference(GetParam(), x).slope;
  const double allowed = 1e-14 + torch_inaccuracy(GetParam().kind);
  EXPECT_LE(largest_difference(fallback::derivative(GetParam(), x), slope),
            allowed * (1 + slope.abs().max().item<double>()));
}

TEST_P(EveryActivation, PlainDerivativeIsItselfDifferentiable) {
  // Away from the kinks, where second derivatives exist; against central differences.
  auto x = (at::rand({400}, at::kDouble) * 12 - 6);
  for (const double kink : GetParam().kinks()) x = x.masked_select((x - kink).abs() > 1e-3);
  auto leaf = x.clone().requires_grad_(true);
  const auto slope = fallback::derivative(GetParam(), leaf);
  const auto second = slope.requires_grad()
                          ? torch::autograd::grad({slope.sum()}, {leaf}, {}, std::nullopt, false, true)[0]
                          : at::Tensor();
  constexpr double kStep = 1e-5;
  const auto expected =
      (fallback::derivative(GetParam(), x + kStep) - fallback::derivative(GetParam(), x - kStep)) / (2 * kStep);
  EXPECT_LE(largest_difference(second.defined() ? second : at::zeros_like(x), expected), 1e-7);
}

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryActivation, testing::ValuesIn(every_activation()), [](const auto& info) {
  std::string name;
  for (const char c : info.param.to_string()) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name + "_" + std::to_string(info.index);
});

}  // namespace
}  // namespace anact::ops::test
