// kernels.cu over the emulation: every kernel by its type and activation.
#pragma once

#include "kernels/cuda/emulation.h"
#include "kernels/cuda/kernels.h"

namespace anact::kernels::cuda::emulation {

struct KernelsOf {
  void (*measure)(PassArguments) = nullptr;
  void (*apply)(PassArguments) = nullptr;
  void (*apply_measure)(PassArguments) = nullptr;
  void (*step)(StepArguments) = nullptr;
  void (*step_measure)(StepArguments) = nullptr;
  void (*backward)(BackwardArguments) = nullptr;
};

// Throws std::invalid_argument where there is no kernel.
[[nodiscard]] KernelsOf kernels_of(ElementType type, ActivationKind kind);

// What kernels_of goes by: each type's kernels are compiled in a file of their own.
bool find_float32(ActivationKind kind, KernelsOf& found);
bool find_float64(ActivationKind kind, KernelsOf& found);
bool find_bfloat16(ActivationKind kind, KernelsOf& found);
bool find_float16(ActivationKind kind, KernelsOf& found);

struct ScalarKernels {
  void (*factors)(FactorsArguments) = nullptr;
  void (*update)(UpdateArguments) = nullptr;
};
[[nodiscard]] ScalarKernels scalar_kernels();

}  // namespace anact::kernels::cuda::emulation
