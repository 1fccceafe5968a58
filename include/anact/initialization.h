// Initial weights for a network that is trained from scratch with ANAct.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "anact/options.h"

namespace anact::nn {

// Inputs and outputs of a weight, as torch.nn.init counts them: those of a linear layer (outputs x inputs), and for a
// convolution (output channels x input channels / groups x kernel) the two channel counts times the kernel's size.
struct Fans {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

// Throws std::invalid_argument for a weight of fewer than two dimensions.
[[nodiscard]] Fans fans(const torch::Tensor& weight);

// Fills `weight`, taken as a matrix with a row for each output, with the orthogonal factor of a matrix of draws from
// N(0, 1): rows or columns, whichever are fewer, are orthonormal. The other factor's diagonal is positive, so that the
// result is unique and uniformly distributed (Mezzadri, "How to generate random matrices from the classical compact
// groups", 2007), and that of torch.nn.init.orthogonal_. The bits depend on the generator and the shape alone, not on
// the layout in memory or the number of threads.
//
// float64 or float32, two or more dimensions; else std::invalid_argument, or c10::Error for another type. Without a
// generator the draws are those of the device's default one, as in the functions below.
void draw_orthogonal(torch::Tensor weight, const std::optional<at::Generator>& generator = std::nullopt);

// Fills the weight of one layer as a recipe has it, with variance 1 / inputs: orthogonal, or normal for a recipe whose
// weights are "lecun" (RecipeInfo). Throws as draw_orthogonal does; normal weights may be of any floating type.
void initialize_weight(torch::Tensor weight, Recipe recipe = {},
                       const std::optional<at::Generator>& generator = std::nullopt);

// Draws the weights of every Linear, Conv1d, Conv2d and Conv3d in `model`, itself or at any depth, anew as the recipe
// has them, and sets their biases to 0; in the order in which they were registered, a layer that is held twice once.
// Classes derived from these count. The draws are those of anact.initialize in Python from the same seed, which draws
// other layers after these, and leaves what is frozen or tied unless asked. Throws as initialize_weight does; the
// layers before are then drawn already.
//
// With ANAct between them such layers keep the variance: it is that of LeCun et al. (1998), and a matrix with
// orthogonal rows or columns also keeps a deep network from losing directions (Saxe et al., 2014). PyTorch's own
// initial weights have a third of it.
void initialize(torch::nn::Module& model, Recipe recipe = {},
                const std::optional<at::Generator>& generator = std::nullopt);

}  // namespace anact::nn
