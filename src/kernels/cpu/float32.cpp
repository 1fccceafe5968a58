#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/float32.cpp"
#include <hwy/foreach_target.h>  // must precede highway.h
#include <hwy/highway.h>

#include "kernels/cpu/blocks-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {

// Calls visit with the struct of the activation. The one place that ties a kind to its vector code.
template <class Visit>
bool Visit32(const Activation& activation, Visit visit) {
  switch (activation.kind) {
    case ActivationKind::relu:
      visit(Relu(activation));
      return true;
    case ActivationKind::silu:
      visit(Silu(activation));
      return true;
    default:
      return false;
  }
}

bool HasFloat32(const Activation& activation) {
  return Visit32(activation, [](const auto&) {});
}

template <bool kWrite, bool kMeasure, class Act>
void ForwardBlocks(const Act& act, const float* x, std::size_t size, float scale, float offset, float* y,
                   Moments* moments) {
  for (std::size_t at = 0; at < size; at += kBlockSize) {
    const std::size_t length = std::min(kBlockSize, size - at);
    ForwardBlock<kWrite, kMeasure>(act, x + at, length, scale, offset, kWrite ? y + at : nullptr,
                                   kMeasure ? moments++ : nullptr);
  }
}

void Forward32(const Activation& activation, const float* x, std::size_t size, float scale, float offset, float* y,
               Moments* moments) {
  Visit32(activation, [&](const auto& act) {
    if (y == nullptr) {
      ForwardBlocks<false, true>(act, x, size, scale, offset, y, moments);
    } else if (moments == nullptr) {
      ForwardBlocks<true, false>(act, x, size, scale, offset, y, moments);
    } else {
      ForwardBlocks<true, true>(act, x, size, scale, offset, y, moments);
    }
  });
}

void Backward32(const Activation& activation, const float* x, const float* g, std::size_t size, float scale, float* dx,
                GradientSums* sums) {
  Visit32(activation, [&](const auto& act) {
    for (std::size_t at = 0; at < size; at += kBlockSize) {
      const std::size_t length = std::min(kBlockSize, size - at);
      BackwardBlock(act, x + at, g + at, length, scale, dx + at, sums++);
    }
  });
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anact::kernels {
namespace {
HWY_EXPORT(HasFloat32);
HWY_EXPORT(Forward32);
HWY_EXPORT(Backward32);
}  // namespace

bool has_float32(ActivationKind kind) { return HWY_DYNAMIC_DISPATCH(HasFloat32)(make_activation(kind)); }

void forward_f32(const Activation& activation, const float* x, std::size_t size, float scale, float offset, float* y,
                 Moments* moments) {
  HWY_DYNAMIC_DISPATCH(Forward32)(activation, x, size, scale, offset, y, moments);
}

void backward_f32(const Activation& activation, const float* x, const float* g, std::size_t size, float scale,
                  float* dx, GradientSums* sums) {
  HWY_DYNAMIC_DISPATCH(Backward32)(activation, x, g, size, scale, dx, sums);
}

}  // namespace anact::kernels
#endif  // HWY_ONCE
