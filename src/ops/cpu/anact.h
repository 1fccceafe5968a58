// A module's step on the CPU, on the fused kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "ops/step.h"

namespace anact::ops::cpu {

// Whether there is a kernel for this input.
[[nodiscard]] bool fused(const at::Tensor& input, const Activation& activation);

// A step but for its gradient. The arguments have been checked.
[[nodiscard]] StepResult step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                              const at::Tensor& num_skipped, const Activation& activation, const Options& options,
                              bool training);

// The gradients of the input and of alpha.
[[nodiscard]] std::tuple<at::Tensor, at::Tensor> step_backward(const at::Tensor& grad, const at::Tensor& input,
                                                               const at::Tensor& alpha, const at::Tensor& map,
                                                               const Activation& activation);

}  // namespace anact::ops::cpu
