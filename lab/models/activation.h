// The activation of one place in a network, whatever normalizes it.
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/pimpl.h>

#include <functional>

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

}  // namespace anact::models
