// Whether a kernel computes on a device what the plain version does. No machine of ours has every device there is.
#pragma once

#include <string>

#include "ops/cuda/device.h"

namespace anact::ops::cuda {

// How many elements a check takes: whole blocks, and a tail.
inline constexpr std::int64_t kCheckedElements = 4099;

// Runs the kernel once on `place`, where `device` launches, and compares with the plain version in float64: values
// within the activation's bound (kernels/accuracy.h), sums within the rounding of their terms. What differs, or empty.
// Waits for the device.
[[nodiscard]] std::string difference(Device& device, at::Device place, kernels::cuda::Kernel kernel,
                                     at::ScalarType type, ActivationKind activation);

}  // namespace anact::ops::cuda
