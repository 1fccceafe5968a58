// The activation of one place in a network, whatever normalizes it.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/pimpl.h>

#include <functional>
#include <span>
#include <string_view>

#include "anact/activation.h"

namespace anact::models {

// Makes a new activation module for each place in a network, so that each has its own statistics.
using ActivationFactory = std::function<torch::nn::AnyModule()>;

// PyTorch's own activation: no state, no normalization.
class PlainActivationImpl : public torch::nn::Cloneable<PlainActivationImpl> {
 public:
  explicit PlainActivationImpl(Activation activation) : activation(activation) {}
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& input);

  Activation activation;
};
TORCH_MODULE(PlainActivation);

// f(x) = x sigmoid(beta x) with a learnt beta (Ramachandran, Zoph and Le, "Searching for activation functions", 2017).
class SwishBetaImpl : public torch::nn::Cloneable<SwishBetaImpl> {
 public:
  SwishBetaImpl() { reset(); }
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& input);

  torch::Tensor beta;  // a scalar, 1 at the start
};
TORCH_MODULE(SwishBeta);

// An activation with a parameter that is learnt: each place has one of its own.
struct LearntActivation {
  std::string_view name;
  Activation start;  // what it is before the first step
  torch::nn::AnyModule (*make)();
};

// swish-beta, and prelu: torch.nn.PReLU with one slope, 0.25 at the start.
[[nodiscard]] std::span<const LearntActivation> learnt_activations();

}  // namespace anact::models
