// The loops over a block, for any activation struct of activations-inl.h and any element type.

#if defined(ANACT_KERNELS_CPU_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_CPU_BLOCKS_INL_H_
#undef ANACT_KERNELS_CPU_BLOCKS_INL_H_
#else
#define ANACT_KERNELS_CPU_BLOCKS_INL_H_
#endif

#include <hwy/cache_control.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "kernels/cpu/activations-inl.h"
#include "kernels/cpu/elements-inl.h"
#include "kernels/cpu/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors that are added in float before the sum is carried on in double: few enough that their rounding is beside the
// rounding of the terms themselves. In double it is the first of two levels of the sum.
inline constexpr std::size_t kVectorsPerFlush = 16;

// A sum that takes vectors of D and is kept in double.
template <class D>
class Sum {
 public:
  HWY_INLINE explicit Sum(D d) : part_(hn::Zero(d)), total_(hn::Zero(kWide)) {}

  HWY_INLINE void Add(hn::Vec<D> v) { part_ = hn::Add(part_, v); }
  HWY_INLINE void AddProduct(hn::Vec<D> a, hn::Vec<D> b) { part_ = hn::MulAdd(a, b, part_); }

  HWY_INLINE void Flush(D d) {
    if constexpr (std::is_same_v<D, Wide>) {
      total_ = hn::Add(total_, part_);
    } else {
      const hn::Half<D> dh;
      const auto low = hn::PromoteTo(kWide, hn::LowerHalf(dh, part_));
      const auto high = hn::PromoteTo(kWide, hn::UpperHalf(dh, part_));
      total_ = hn::Add(total_, hn::Add(low, high));
    }
    part_ = hn::Zero(d);
  }

  HWY_INLINE double Total() const { return hn::GetLane(hn::SumOfLanes(kWide, total_)); }

 private:
  using Wide = hn::Repartition<double, D>;
  static constexpr Wide kWide{};
  hn::Vec<D> part_;
  hn::Vec<Wide> total_;
};

// A shift near the block's mean, which keeps the variance accurate when the mean is large beside the deviation. A mean
// of several elements, so that a single outlier at the front does no harm.
template <class T>
Arithmetic<T> Pivot(const T* x, std::size_t size) {
  const std::size_t count = std::min<std::size_t>(size, 8);
  Arithmetic<T> sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += ToArithmetic(x[i]);
  return sum / static_cast<Arithmetic<T>>(count);
}

// Calls visit(at) for each whole vector of the block, and flush() after every kVectorsPerFlush of them and at the end.
template <class Visit, class Flush>
HWY_INLINE void ForEachVector(std::size_t size, std::size_t lanes, const Visit& visit, const Flush& flush) {
  const std::size_t whole = size - size % lanes;
  for (std::size_t at = 0; at < whole;) {
    const std::size_t stop = std::min(at + kVectorsPerFlush * lanes, whole);
    for (; at < stop; at += lanes) visit(at);
    flush();
  }
}

// The elements that do not fill a vector, followed by zeros.
template <class D, class T>
class Rest {
 public:
  HWY_INLINE Rest(D d, const T* x, std::size_t count) : values_{} {
    std::copy_n(x, count, values_);
    vector_ = LoadElements(d, values_);
  }
  HWY_INLINE hn::Vec<D> Vector() const { return vector_; }

 private:
  HWY_ALIGN T values_[hn::MaxLanes(D())];
  hn::Vec<D> vector_;
};

template <class D, class T>
HWY_INLINE void StoreRest(hn::Vec<D> v, D d, T* to, std::size_t count) {
  HWY_ALIGN T values[hn::MaxLanes(D())];
  StoreElements(v, d, values, false);
  std::copy_n(values, count, to);
}

// Out of line, so that an activation's code is not there once more in each of the loops below.
template <class D, class Act>
HWY_NOINLINE ValueAndDerivative<hn::Vec<D>> EvaluateRest(D d, const Act& act, hn::Vec<D> x) {
  return act(d, x);
}

template <bool kWrite, bool kMeasure, class Act, class T>
void ForwardBlock(const Act act, const T* x, std::size_t size, Arithmetic<T> scale, Arithmetic<T> offset, T* y,
                  bool streaming, Moments* moments) {
  const hn::ScalableTag<Arithmetic<T>> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  const auto voffset = hn::Set(d, offset);
  const Arithmetic<T> pivot = kMeasure ? Pivot(x, size) : 0;
  const auto vpivot = hn::Set(d, pivot);
  Sum shifted(d), shifted_square(d), value(d), value_square(d), slope_square(d);

  const auto add = [&](auto s, auto f, auto slope) HWY_ATTR {
    shifted.Add(s);
    shifted_square.AddProduct(s, s);
    value.Add(f);
    value_square.AddProduct(f, f);
    slope_square.AddProduct(slope, slope);
  };
  const auto visit = [&](std::size_t at) HWY_ATTR {
    const auto vx = LoadElements(d, x + at);
    const auto [f, slope] = act(d, vx);
    if constexpr (kWrite) StoreElements(hn::MulAdd(vscale, f, voffset), d, y + at, streaming);
    if constexpr (kMeasure) add(hn::Sub(vx, vpivot), f, slope);
  };
  const auto flush = [&]() HWY_ATTR {
    if constexpr (kMeasure) {
      shifted.Flush(d);
      shifted_square.Flush(d);
      value.Flush(d);
      value_square.Flush(d);
      slope_square.Flush(d);
    }
  };
  ForEachVector(size, lanes, visit, flush);
  if (const std::size_t rest = size % lanes; rest != 0) {
    const std::size_t at = size - rest;
    const auto vx = Rest<decltype(d), T>(d, x + at, rest).Vector();
    const auto [f, slope] = EvaluateRest(d, act, vx);
    if constexpr (kWrite) StoreRest(hn::MulAdd(vscale, f, voffset), d, y + at, rest);
    if constexpr (kMeasure) {
      // Lanes beyond the elements stay out of the sums.
      const auto in = hn::FirstN(d, rest);
      add(hn::IfThenElseZero(in, hn::Sub(vx, vpivot)), hn::IfThenElseZero(in, f), hn::IfThenElseZero(in, slope));
    }
    flush();
  }
  if constexpr (kMeasure) {
    const auto count = static_cast<double>(size);
    const double mean = shifted.Total() / count;
    moments->count = count;
    moments->input_mean = pivot + mean;
    // Rounding may leave a constant block a hair below zero; a NaN must stay.
    const double m2 = shifted_square.Total() - mean * mean * count;
    moments->input_m2 = m2 < 0 ? 0 : m2;
    moments->output_sum = value.Total();
    moments->output_square_sum = value_square.Total();
    moments->slope_square_sum = slope_square.Total();
  }
}

template <class Act, class T>
void BackwardBlock(const Act act, const T* x, const T* g, std::size_t size, Arithmetic<T> scale, T* dx, bool streaming,
                   GradientSums* sums) {
  const hn::ScalableTag<Arithmetic<T>> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  Sum gradient(d), gradient_value(d);

  const auto visit = [&](std::size_t at) HWY_ATTR {
    const auto [f, slope] = act(d, LoadElements(d, x + at));
    const auto vg = LoadElements(d, g + at);
    StoreElements(hn::Mul(hn::Mul(vscale, vg), slope), d, dx + at, streaming);
    gradient.Add(vg);
    gradient_value.AddProduct(vg, f);
  };
  const auto flush = [&]() HWY_ATTR {
    gradient.Flush(d);
    gradient_value.Flush(d);
  };
  ForEachVector(size, lanes, visit, flush);
  if (const std::size_t rest = size % lanes; rest != 0) {
    const std::size_t at = size - rest;
    const auto [f, slope] = EvaluateRest(d, act, Rest<decltype(d), T>(d, x + at, rest).Vector());
    const auto vg = Rest<decltype(d), T>(d, g + at, rest).Vector();
    StoreRest(hn::Mul(hn::Mul(vscale, vg), slope), d, dx + at, rest);
    // The zeros that fill g's last vector add nothing: f(0) is finite.
    gradient.Add(vg);
    gradient_value.AddProduct(vg, f);
    flush();
  }
  sums->gradient = gradient.Total();
  sums->gradient_value = gradient_value.Total();
}

// Streaming stores need whole aligned vectors.
template <class T>
bool CanStream(const T* to) {
  return reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
}

template <bool kWrite, bool kMeasure, class Act, class T>
void ForwardBlocks(const Act& act, const T* x, std::size_t size, double scale, double offset, T* y, bool streaming,
                   Moments* moments) {
  for (std::size_t at = 0; at < size; at += kBlockSize) {
    ForwardBlock<kWrite, kMeasure>(act, x + at, std::min(kBlockSize, size - at), Canonical<T>(scale),
                                   Canonical<T>(offset), kWrite ? y + at : nullptr, streaming,
                                   kMeasure ? moments++ : nullptr);
  }
}

template <class T>
void ForwardElements(const Activation& activation, const T* x, std::size_t size, double scale, double offset, T* y,
                     Moments* moments, bool streaming) {
  streaming = streaming && CanStream(y);
  Activations::Visit(activation, [&](const auto& act) {
    if (y == nullptr) {
      ForwardBlocks<false, true>(act, x, size, scale, offset, y, false, moments);
    } else if (moments == nullptr) {
      ForwardBlocks<true, false>(act, x, size, scale, offset, y, streaming, moments);
    } else {
      ForwardBlocks<true, true>(act, x, size, scale, offset, y, streaming, moments);
    }
  });
  if (streaming) hwy::FlushStream();
}

template <class T>
void BackwardElements(const Activation& activation, const T* x, const T* g, std::size_t size, double scale, T* dx,
                      GradientSums* sums, bool streaming) {
  streaming = streaming && CanStream(dx);
  Activations::Visit(activation, [&](const auto& act) {
    for (std::size_t at = 0; at < size; at += kBlockSize) {
      BackwardBlock(act, x + at, g + at, std::min(kBlockSize, size - at), Canonical<T>(scale), dx + at, streaming,
                    sums++);
    }
  });
  if (streaming) hwy::FlushStream();
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_CPU_BLOCKS_INL_H_
