// The table of PyTorch's names: each name is one that PyTorch has, and is that activation.

#include "nn/torch_names.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>
#include <vector>

namespace anact::nn {
namespace {

// With parameters that are not the default.
Activation changed(ActivationKind kind) {
  Activation result{.kind = kind, .parameters = {}};
  const auto parameters = activation_info(kind).parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) result.parameters[i] = parameters[i].default_value + 0.25;
  return result;
}

torch::Tensor values_of(const Activation& activation, const torch::Tensor& x) {
  auto result = torch::empty_like(x);
  for (std::int64_t i = 0; i < x.numel(); ++i) result[i] = activation.value(x[i].item<double>());
  return result;
}

const torch::Tensor& points() {
  static const torch::Tensor result = torch::linspace(-8, 8, 101, torch::kDouble);
  return result;
}

TEST(TorchNames, ModulesAreTheirActivation) {
  for (const auto& row : torch_activations()) {
    const auto activation = changed(row.kind);
    const auto name = activation.to_string();
    EXPECT_TRUE(row.read == nullptr || row.make != nullptr) << name;
    if (row.make == nullptr) continue;
    auto module = row.make(activation.parameters);
    EXPECT_TRUE(torch::allclose(module.forward(points()), values_of(activation, points()), 1e-12, 1e-12)) << name;
    const auto found = activation_of(*module.ptr());
    EXPECT_EQ(found.has_value(), row.read != nullptr) << name;
    if (found) {
      EXPECT_EQ(found->to_string(), name);
    }
  }
}

TEST(TorchNames, OperatorsAreTheirActivation) {
  for (const auto& row : torch_activations()) {
    if (row.op.empty()) continue;
    const auto activation = changed(row.kind);
    const auto name = "aten::" + std::string(row.op);
    const auto found = c10::Dispatcher::singleton().findSchema({name, ""});
    ASSERT_TRUE(found.has_value()) << name;
    std::vector<c10::IValue> stack{points()};
    const auto& arguments = found->schema().arguments();
    const auto parameters = activation_info(row.kind).parameters;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
      if (arguments[i].name() == row.choice.keyword) {
        stack.emplace_back(std::string(row.choice.value));
      } else if (i <= parameters.size()) {
        stack.emplace_back(activation.parameters[i - 1]);
      } else {
        stack.push_back(*arguments[i].default_value());
      }
    }
    const auto read = activation_of(name, stack);
    ASSERT_TRUE(read.has_value()) << name;
    EXPECT_EQ(read->to_string(), activation.to_string());
    EXPECT_EQ(activation_of(name + "_", stack)->to_string(), activation.to_string());
    found->callBoxed(stack);
    EXPECT_TRUE(torch::allclose(stack.front().toTensor(), values_of(activation, points()), 1e-7, 1e-7)) << name;
  }
  EXPECT_FALSE(activation_of("aten::matmul", {}).has_value());
}

}  // namespace
}  // namespace anact::nn
