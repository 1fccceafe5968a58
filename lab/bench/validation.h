// Whether what is timed is right.
#pragma once

#include <torch/types.h>

#include "anact/activation.h"

namespace anact::bench {

// Holds the first training step of an ANAct with default options to the specification in float64: `output` for `input`,
// and `input_gradient` for the output's gradient `gradient`, all of one shape and type, contiguous and on the CPU; and
// `alpha_gradient`, one number, for the same.
//
// The bound is half a unit in the last place of the result, and what the kernel states of its arithmetic (in float for
// 16-bit types): kernels::accuracy for f and f', and as much as the sums can be off for the map that is made of them.
// Alpha's gradient is a sum in which terms cancel: its bound is a share of the sum of their absolute values. Throws
// std::runtime_error that names the element, what was found, what is right and the bound.
void check_first_step(const Activation& activation, const torch::Tensor& input, const torch::Tensor& gradient,
                      const torch::Tensor& output, const torch::Tensor& input_gradient,
                      const torch::Tensor& alpha_gradient);

}  // namespace anact::bench
