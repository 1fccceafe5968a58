// The plain multilayer perceptron: linear, activation, linear, activation, …, linear.
#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <vector>

#include "models/activation.h"
#include "models/initialization.h"
#include "models/network.h"
#include "models/norm.h"
#include "models/weighted.h"

namespace anact::models {

struct MLPOptions {
  std::int64_t inputs = 0;
  std::int64_t classes = 0;
  std::int64_t depth = 20;   // hidden layers, each with an activation
  std::int64_t width = 128;  // units of each hidden layer
  Norm norm = Norm::none;    // between the linear layer, which has a bias all the same, and the activation
  WeightStandardization standardization = WeightStandardization::none;  // of the hidden layers
  ActivationFactory activation;
};

class MLPImpl : public Network {
 public:
  // Throws std::invalid_argument for sizes below 1 and without an activation.
  explicit MLPImpl(MLPOptions options);

  void initialize(const WeightInitialization& weights, const at::Generator& generator) override;

  // input: batch x inputs, or images of so many values in all.
  torch::Tensor forward(const torch::Tensor& input) override;
  [[nodiscard]] std::vector<std::string> main_path() const override;

  // The activation modules, first layer first.
  [[nodiscard]] const std::vector<torch::nn::AnyModule>& activations() const { return activations_; }

  MLPOptions options;

 private:
  std::vector<WeightedLinear> linears_;
  std::vector<torch::nn::AnyModule> norms_;
  std::vector<torch::nn::AnyModule> activations_;
  torch::nn::Linear output_{nullptr};
};
TORCH_MODULE(MLP);

}  // namespace anact::models
