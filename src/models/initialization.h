// Initial draws of a network's weights.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <string_view>

#include "anact/activation.h"

namespace anact::models {

// The variance of a weight with n inputs and m outputs, all normally distributed.
enum class Initialization {
  he,      // 2/n, He et al. (2015)
  lecun,   // 1/n, LeCun et al. (1998)
  glorot,  // 2/(n + m), Glorot and Bengio (2010)
  gain,    // lambda^2/n with the activation's own lambda under N(0, 1): the fixed correction that ANAct makes adaptive
};

[[nodiscard]] std::string_view to_string(Initialization value);

// Throws std::invalid_argument with the accepted names.
[[nodiscard]] Initialization parse_initialization(std::string_view text);

// The standard deviation of a weight in front of `activation`. Throws std::invalid_argument unless inputs and outputs
// are positive.
[[nodiscard]] double standard_deviation(Initialization initialization, const Activation& activation,
                                        std::int64_t inputs, std::int64_t outputs);

// n and m of a weight, as torch.nn.init counts them: those of a linear layer (outputs x inputs), and for a convolution
// (out_channels x in_channels / groups x kernel height x kernel width) the two channel counts times the kernel's size.
struct Fans {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};
[[nodiscard]] Fans fans(const torch::Tensor& weight);

// Fills `weight` with `standard_deviation` times draws from N(0, 1). The draws depend on the generator and the shape
// alone, not on the layout in memory, so that networks that differ in their initialization start from the same ones.
void draw_normal(torch::Tensor weight, double standard_deviation, at::Generator generator);

// Draws the weights of all linear layers and two-dimensional convolutions of `network`, in the order in which they were
// registered: those of `output`, which no activation follows, by LeCun's variance, the others by `initialization`.
// Their biases become 0; batch norms and activations stay as they are.
void initialize(torch::nn::Module& network, const torch::nn::Linear& output, Initialization initialization,
                const Activation& activation, const at::Generator& generator);

}  // namespace anact::models
