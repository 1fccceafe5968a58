#define ANACT_ELEMENT double
#define ANACT_FIND find_float64

#include <stdexcept>

#include "kernels/cuda/emulated_kernels-inl.h"

namespace anact::kernels::cuda::emulation {

ScalarKernels scalar_kernels() { return {&N_EMULATION::FindFactors<0>, &N_EMULATION::Update<0>}; }

KernelsOf kernels_of(ElementType type, ActivationKind kind) {
  KernelsOf found;
  bool there = false;
  switch (type) {
    case ElementType::float32:
      there = find_float32(kind, found);
      break;
    case ElementType::float64:
      there = find_float64(kind, found);
      break;
    case ElementType::bfloat16:
      there = find_bfloat16(kind, found);
      break;
    case ElementType::float16:
      there = find_float16(kind, found);
      break;
  }
  if (!there) throw std::invalid_argument("no kernel for the activation");
  return found;
}

}  // namespace anact::kernels::cuda::emulation
