// What one call of the module does, in C++ and in Python: the operators in their order.
#pragma once

#include <torch/types.h>

#include "anact/nn.h"
#include "ops/step.h"

namespace anact::nn {

// The statistics of the options' activation under N(0, 1). Throws std::invalid_argument for a custom one that is not
// finite.
[[nodiscard]] Statistics gaussian_statistics(const ANActOptions& options);

// Whether the user froze the module: its alpha is one to learn, and asks for no gradient.
[[nodiscard]] bool is_frozen(const torch::Tensor& alpha, const ANActOptions& options);

// y; in training, `running` and `num_skipped` are updated in place.
torch::Tensor step(const torch::Tensor& input, const torch::Tensor& alpha, const ops::RunningStatistics& running,
                   const torch::Tensor& num_skipped, const ANActOptions& options, bool training);

// y of the input's own statistics, with alpha = 0: what the functional form returns.
torch::Tensor normalize(const torch::Tensor& input, const ANActOptions& options);

}  // namespace anact::nn
