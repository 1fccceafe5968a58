// What all networks have in common.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <vector>

#include "models/initialization.h"

namespace anact::models {

// What passed through a network in one forward pass, first layer first.
struct Trace {
  std::vector<torch::Tensor> linear_outputs;  // of each linear layer or convolution that leads to an activation
  std::vector<torch::Tensor> activations;     // the output of each activation
};

class Network : public torch::nn::Module {
 public:
  // input: batch x channels x height x width; an input in channels_last keeps that layout throughout. Returns
  // batch x classes, the logits. Fills `trace` unless it is null.
  virtual torch::Tensor forward(const torch::Tensor& input, Trace* trace = nullptr) = 0;

  // Draws the weights by `weights`, those of the last layer, which no activation follows, by LeCun's variance (except
  // with Initialization::pytorch, which draws every layer as PyTorch does); biases become 0 (with pytorch as
  // PyTorch's).
  virtual void initialize(const WeightInitialization& weights, const at::Generator& generator) = 0;
};

}  // namespace anact::models
