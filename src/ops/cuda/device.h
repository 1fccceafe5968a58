// What the operators need of a GPU. Besides the real one, tests give them an emulated one, whose memory is the CPU's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "anact/activation.h"
#include "kernels/cuda/kernels.h"

namespace anact::ops::cuda {

// Zeroed memory for the sums of a launch, which leaves it as it found it. Must live until the launch has been made.
struct Workspace {
  void* data = nullptr;
  at::Tensor owner;  // undefined where it is kept for good
};

class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  [[nodiscard]] virtual std::uint32_t multiprocessors() const = 0;

  // Of kernels::cuda::largest_workspace_bytes(), for launches in the current stream.
  [[nodiscard]] virtual Workspace workspace() = 0;

  // Puts the kernel into the current stream. `arguments` is the kernel's struct, which is copied. Throws gpu::Error.
  virtual void launch(kernels::cuda::Kernel kernel, kernels::cuda::ElementType type, ActivationKind activation,
                      kernels::cuda::LaunchShape shape, void* arguments) = 0;
};

}  // namespace anact::ops::cuda
