// The operators by the CUDA kernels, on any Device. Nothing here waits for the device. The arguments have been checked.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "ops/arguments.h"
#include "ops/cuda/device.h"
#include "ops/step.h"

namespace anact::ops::cuda {

// The kernels' type for a tensor's; none where they have none.
[[nodiscard]] std::optional<kernels::cuda::ElementType> element_type(at::ScalarType type);

[[nodiscard]] at::Tensor measure(Device& device, const at::Tensor& input, const Activation& activation,
                                 const std::optional<at::Tensor>& unless);
[[nodiscard]] at::Tensor factors(Device& device, const at::Tensor& alpha, const RunningStatistics& running,
                                 const std::optional<at::Tensor>& moments, const Options& options);
[[nodiscard]] TensorPair apply(Device& device, const at::Tensor& input, const at::Tensor& map,
                               const Activation& activation, bool measure);
// The gradients of the input and of the map.
[[nodiscard]] TensorPair apply_backward(Device& device, const at::Tensor& grad, const at::Tensor& input,
                                        const at::Tensor& map, const Activation& activation);
void update(Device& device, const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
            const at::Tensor& alpha, const at::Tensor& map, const Options& options);

// The kernels that step() launches as things are.
[[nodiscard]] std::span<const kernels::cuda::Kernel> kernels_of_step(const Options& options, bool training);

// A module's step but for its gradient, and the gradients of the input and of alpha.
[[nodiscard]] StepResult step(Device& device, const at::Tensor& input, const at::Tensor& alpha,
                              const RunningStatistics& running, const at::Tensor& num_skipped,
                              const Activation& activation, const Options& options, bool training);
[[nodiscard]] TensorPair step_backward(Device& device, const at::Tensor& grad, const at::Tensor& input,
                                       const at::Tensor& alpha, const at::Tensor& map, const Activation& activation);

}  // namespace anact::ops::cuda
