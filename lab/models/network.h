// What all networks have in common.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <vector>

#include "models/initialization.h"

namespace anact::models {

class Network : public torch::nn::Module {
 public:
  // input: batch x channels x height x width; an input in channels_last keeps that layout throughout. Returns
  // batch x classes, the logits.
  virtual torch::Tensor forward(const torch::Tensor& input) = 0;

  // The paths of the linear layers and convolutions that lead to an activation, one to each, first layer first: all but
  // the last layer and those of shortcuts.
  [[nodiscard]] virtual std::vector<std::string> main_path() const = 0;

  // Draws the weights by `weights`, those of the last layer, which no activation follows, by LeCun's variance (except
  // with Initialization::pytorch, which draws every layer as PyTorch does); biases become 0 (with pytorch as
  // PyTorch's).
  virtual void initialize(const WeightInitialization& weights, const at::Generator& generator) = 0;
};

}  // namespace anact::models
