// forward and backward for the type ANACT_ELEMENT, which the including file defines before it includes
// foreach_target.h.

// No guard: this is included once for each instruction set, by one file a type.
#include "kernels/cpu/blocks-inl.h"
#include "kernels/cpu/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {

void Forward(const Activation& activation, const ANACT_ELEMENT* x, std::size_t size, double scale, double offset,
             ANACT_ELEMENT* y, Moments* moments, bool streaming) {
  ForwardElements(activation, x, size, scale, offset, y, moments, streaming);
}

void Backward(const Activation& activation, const ANACT_ELEMENT* x, const ANACT_ELEMENT* g, std::size_t size,
              double scale, ANACT_ELEMENT* dx, GradientSums* sums, bool streaming) {
  BackwardElements(activation, x, g, size, scale, dx, sums, streaming);
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anact::kernels {
namespace {
HWY_EXPORT(Forward);
HWY_EXPORT(Backward);
}  // namespace

void forward(const Activation& activation, const ANACT_ELEMENT* x, std::size_t size, double scale, double offset,
             ANACT_ELEMENT* y, Moments* moments, bool streaming) {
  HWY_DYNAMIC_DISPATCH(Forward)(activation, x, size, scale, offset, y, moments, streaming);
}

void backward(const Activation& activation, const ANACT_ELEMENT* x, const ANACT_ELEMENT* g, std::size_t size,
              double scale, ANACT_ELEMENT* dx, GradientSums* sums, bool streaming) {
  HWY_DYNAMIC_DISPATCH(Backward)(activation, x, g, size, scale, dx, sums, streaming);
}

}  // namespace anact::kernels
#endif  // HWY_ONCE
