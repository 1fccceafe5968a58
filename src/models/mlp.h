// The plain multilayer perceptron: linear, activation, linear, activation, …, linear.
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/linear.h>

#include <vector>

#include "models/activation.h"
#include "models/initialization.h"

namespace anact::models {

struct MLPOptions {
  std::int64_t inputs = 0;
  std::int64_t classes = 0;
  std::int64_t depth = 20;   // hidden layers, each with an activation
  std::int64_t width = 128;  // units of each hidden layer
  bool batch_norm = false;   // BatchNorm1d between the linear layer and the activation
  ActivationFactory activation;
};

// What passed through a network's hidden layers in one forward pass, first layer first.
struct Trace {
  std::vector<torch::Tensor> linear_outputs;
  std::vector<torch::Tensor> activations;
};

class MLPImpl : public torch::nn::Module {
 public:
  // Throws std::invalid_argument for sizes below 1 and without an activation.
  explicit MLPImpl(MLPOptions options);

  // Weights of the hidden layers by `initialization`, of the last layer by LeCun's; biases 0.
  void initialize(Initialization initialization, const Activation& activation, const at::Generator& generator);

  // input: batch x inputs. Returns batch x classes, the logits. Fills `trace` unless it is null.
  torch::Tensor forward(torch::Tensor input, Trace* trace = nullptr);

  // The activation modules, first layer first.
  [[nodiscard]] const std::vector<torch::nn::AnyModule>& activations() const { return activations_; }

  MLPOptions options;

 private:
  std::vector<torch::nn::Linear> linears_;
  std::vector<torch::nn::BatchNorm1d> norms_;
  std::vector<torch::nn::AnyModule> activations_;
  torch::nn::Linear output_{nullptr};
};
TORCH_MODULE(MLP);

}  // namespace anact::models
