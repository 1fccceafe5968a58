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

// PyTorch's own activation: no state, no normalization. It is multiplied by `scale`.
class PlainActivationImpl : public torch::nn::Cloneable<PlainActivationImpl> {
 public:
  explicit PlainActivationImpl(Activation activation, double scale = 1) : activation(activation), scale(scale) {}
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& input);

  Activation activation;
  double scale;
};
TORCH_MODULE(PlainActivation);

// An activation with a parameter that is learnt.
struct LearntActivationInfo {
  std::string_view name;
  std::string_view parameter;  // its name in a module
  Activation start;            // what it is before the first step
  torch::Tensor (*initial)();  // the parameter then
  torch::Tensor (*value)(const torch::Tensor& input, const torch::Tensor& parameter);
};

// swish-beta, x sigmoid(beta x) with the scalar beta 1 at the start (Ramachandran, Zoph and Le, "Searching for
// activation functions", 2017), and prelu, torch.nn.PReLU with one slope, 0.25 at the start (He et al., 2015).
[[nodiscard]] std::span<const LearntActivationInfo> learnt_activations();

// One place's, with a parameter of its own. It is multiplied by `scale`.
class LearntActivationImpl : public torch::nn::Cloneable<LearntActivationImpl> {
 public:
  explicit LearntActivationImpl(const LearntActivationInfo& info, double scale = 1);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& input);

  const LearntActivationInfo* info;
  torch::Tensor parameter;
  double scale;
};
TORCH_MODULE(LearntActivation);

// 1 / the standard deviation of f(x) for x from N(0, 1), which follows an activation in normalizer-free networks (Brock
// et al., 2021). Throws std::invalid_argument for an activation whose output does not vary.
[[nodiscard]] double standardizing_scale(const Activation& activation);

}  // namespace anact::models
