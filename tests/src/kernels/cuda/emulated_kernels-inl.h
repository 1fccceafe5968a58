// The kernels of one element type: the including file defines ANACT_ELEMENT and ANACT_FIND.

#define ANACT_CUDA
// Apart from those of the library, which has them for their layout.
#define HWY_NAMESPACE N_EMULATION

// clang-format off
#include "kernels/cuda/emulation.h"
#include "kernels/cuda/kernels.cu"
// clang-format on

#include "kernels/cuda/emulated_kernels.h"

namespace anact::kernels::N_EMULATION {

template <class T, class List>
struct Finder;
template <class T, class... Structs>
struct Finder<T, ActivationList<Structs...>> {
  template <int kKind>
  static constexpr cuda::emulation::KernelsOf All() {
    return {&Measure<T, kKind>,     &Apply<T, kKind, false>, &Apply<T, kKind, true>,
            &Step<T, kKind, false>, &Step<T, kKind, true>,   &Backward<T, kKind>};
  }
  static bool Find(ActivationKind kind, cuda::emulation::KernelsOf& found) {
    return ((kind == Structs::kKind && (found = All<static_cast<int>(Structs::kKind)>(), true)) || ...);
  }
};

}  // namespace anact::kernels::N_EMULATION

namespace anact::kernels::cuda::emulation {

bool ANACT_FIND(ActivationKind kind, KernelsOf& found) {
  return N_EMULATION::Finder<ANACT_ELEMENT, N_EMULATION::Activations>::Find(kind, found);
}

}  // namespace anact::kernels::cuda::emulation
