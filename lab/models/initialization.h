// Initial draws of a network's weights.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <string_view>

#include "anact/activation.h"
#include "anact/initialization.h"
#include "anact/normalization.h"

namespace anact::models {

// The variance of a weight with n inputs and m outputs, all normally distributed.
enum class Initialization {
  he,          // 2/n, He et al. (2015)
  lecun,       // 1/n, LeCun et al. (1998)
  glorot,      // 2/(n + m), Glorot and Bengio (2010)
  orthogonal,  // 1/n, a multiple of a semi-orthogonal matrix (Saxe, McClelland and Ganguli 2014)
  pytorch,     // as PyTorch's own layers begin: uniform, variance 1/(3n), and biases drawn likewise
  gain,  // lambda^2/n with the solution's own lambda under N(0, 1): the fixed correction that ANAct makes adaptive
  orthogonal_gain,  // the same variance, lambda times what `orthogonal` draws
};

// How the weights in front of an activation are drawn.
struct WeightInitialization {
  Initialization kind = Initialization::he;
  Activation activation{};               // for the two with a gain
  NormalizationOptions normalization{};  // for the two with a gain: solution, target, …
};

[[nodiscard]] std::string_view to_string(Initialization value);

// Throws std::invalid_argument with the accepted names.
[[nodiscard]] Initialization parse_initialization(std::string_view text);

// The standard deviation of a weight that is normally distributed. Throws std::invalid_argument unless inputs and
// outputs are positive, and for `orthogonal`, `orthogonal_gain` and `pytorch`, whose weights are not normal.
[[nodiscard]] double standard_deviation(const WeightInitialization& weights, std::int64_t inputs, std::int64_t outputs);

// n and m of a weight, and the draws of an orthogonal one, are the library's.
using nn::draw_orthogonal;
using nn::Fans;
using nn::fans;

// Fills `weight` with `standard_deviation` times draws from N(0, 1). The draws depend on the generator and the shape
// alone, not on the layout in memory, so that networks that differ in their initialization start from the same ones.
void draw_normal(torch::Tensor weight, double standard_deviation, at::Generator generator);

// Fills `values` with draws from the uniform distribution over [-bound, bound). On layout, as draw_normal.
void draw_uniform(torch::Tensor values, double bound, at::Generator generator);

// Draws the weights of all linear layers and two-dimensional convolutions of `network`, in the order in which they were
// registered: those of `output`, which no activation follows, by LeCun's variance, the others by `weights`. Their
// biases become 0. Initialization::pytorch draws every layer, `output` and biases too, uniformly within 1/sqrt(inputs),
// as torch.nn.Linear and torch.nn.Conv2d do at the start (kaiming_uniform_ with a = sqrt 5). Batch norms and
// activations stay as they are.
void initialize(torch::nn::Module& network, const torch::nn::Linear& output, const WeightInitialization& weights,
                const at::Generator& generator);

}  // namespace anact::models
