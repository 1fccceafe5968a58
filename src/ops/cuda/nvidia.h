// The GPUs of CUDA, where kernels are compiled for them.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "anact/activation.h"
#include "ops/cuda/device.h"

namespace anact::ops::cuda {

// The device of an input of this type, if these kernels run on it; null where the plain version must serve: on any
// other device, for a type or an activation without a kernel, with ANACT_CUDA=off, and where a kernel cannot be
// compiled or does not compute there what the plain version does, of which one warning tells. The first call for a
// kernel compiles it, unless the disk has it, and checks it (ops/cuda/check.h), which waits for the device; later ones
// cost a few loads.
[[nodiscard]] Device* device_with(std::span<const kernels::cuda::Kernel> kernels, at::Device place, at::ScalarType type,
                                  ActivationKind activation);

}  // namespace anact::ops::cuda
