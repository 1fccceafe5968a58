// The weighted layers of a network: PyTorch's own, or those with standardized weights.
#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <string_view>

namespace anact::models {

enum class WeightStandardization {
  none,
  scaled,  // of normalizer-free ResNets: standardized()
};

// "none", "scaled".
[[nodiscard]] std::string_view to_string(WeightStandardization value);
// Throws std::invalid_argument with the accepted names.
[[nodiscard]] WeightStandardization parse_weight_standardization(std::string_view text);

// g (W - E[W]) / sqrt(n Var(W)) for the n weights W of each output and its gain g, so that an input of second moment 1
// gives an output of variance g^2: scaled weight standardization (Brock, De and Smith, "Characterizing signal
// propagation to close the performance gap in unnormalized ResNets", 2021). Var is of the n weights themselves
// (biased), and n Var(W) at least 1e-4, as in the paper's code.
//
// weight: outputs x …; gain: outputs.
[[nodiscard]] torch::Tensor standardized(const torch::Tensor& weight, const torch::Tensor& gain);

// torch.nn.Conv2d and torch.nn.Linear with their parameters; `gain` comes after these, and is undefined without
// standardization. What is passed a torch::nn::Conv2d or Linear takes them too.
class WeightedConv2dImpl : public torch::nn::Conv2dImpl {
 public:
  WeightedConv2dImpl(const torch::nn::Conv2dOptions& options, WeightStandardization standardization);
  torch::Tensor forward(const torch::Tensor& input);

  torch::Tensor gain;  // of each output channel, 1 at the start
};
TORCH_MODULE(WeightedConv2d);

class WeightedLinearImpl : public torch::nn::LinearImpl {
 public:
  WeightedLinearImpl(const torch::nn::LinearOptions& options, WeightStandardization standardization);
  torch::Tensor forward(const torch::Tensor& input);

  torch::Tensor gain;  // of each output, 1 at the start
};
TORCH_MODULE(WeightedLinear);

}  // namespace anact::models
