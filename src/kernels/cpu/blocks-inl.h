// The loops over a block, for any activation struct of activations-inl.h.

#if defined(ANACT_KERNELS_CPU_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_CPU_BLOCKS_INL_H_
#undef ANACT_KERNELS_CPU_BLOCKS_INL_H_
#else
#define ANACT_KERNELS_CPU_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/activations-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors that are added in float before the sum is carried on in double: few enough that their rounding is beside the
// rounding of the terms themselves.
inline constexpr std::size_t kVectorsPerFlush = 16;

// A sum that takes float vectors and is kept in double.
template <class D>
class Sum {
 public:
  HWY_INLINE explicit Sum(D d) : part_(hn::Zero(d)), total_(hn::Zero(kWide)) {}

  HWY_INLINE void Add(hn::Vec<D> v) { part_ = hn::Add(part_, v); }
  HWY_INLINE void AddProduct(hn::Vec<D> a, hn::Vec<D> b) { part_ = hn::MulAdd(a, b, part_); }

  HWY_INLINE void Flush(D d) {
    const hn::Half<D> dh;
    const auto low = hn::PromoteTo(kWide, hn::LowerHalf(dh, part_));
    const auto high = hn::PromoteTo(kWide, hn::UpperHalf(dh, part_));
    total_ = hn::Add(total_, hn::Add(low, high));
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
inline double Pivot(const float* HWY_RESTRICT x, std::size_t size) {
  const std::size_t count = std::min<std::size_t>(size, 8);
  float sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += x[i];
  return sum / static_cast<float>(count);
}

template <bool kWrite, bool kMeasure, class Act>
void ForwardBlock(const Act& act, const float* x, std::size_t size, float scale, float offset, float* y,
                  Moments* moments) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  const auto voffset = hn::Set(d, offset);
  const float pivot = kMeasure ? static_cast<float>(Pivot(x, size)) : 0.0F;
  const auto vpivot = hn::Set(d, pivot);
  Sum shifted(d), shifted_square(d), value(d), value_square(d), slope_square(d);

  std::size_t i = 0;
  const auto whole = [&](std::size_t at) HWY_ATTR {
    const auto vx = hn::LoadU(d, x + at);
    const auto [f, slope] = act(d, vx);
    if constexpr (kWrite) hn::StoreU(hn::MulAdd(vscale, f, voffset), d, y + at);
    if constexpr (kMeasure) {
      const auto s = hn::Sub(vx, vpivot);
      shifted.Add(s);
      shifted_square.AddProduct(s, s);
      value.Add(f);
      value_square.AddProduct(f, f);
      slope_square.AddProduct(slope, slope);
    }
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
  const std::size_t stride = kVectorsPerFlush * lanes;
  for (; i + stride <= size; i += stride) {
    for (std::size_t k = 0; k < stride; k += lanes) whole(i + k);
    flush();
  }
  for (; i + lanes <= size; i += lanes) whole(i);
  if (i < size) {
    // The last few elements: lanes beyond them stay out of the sums.
    const auto in = hn::FirstN(d, size - i);
    HWY_ALIGN float buffer[hn::MaxLanes(d)] = {};
    std::copy_n(x + i, size - i, buffer);
    const auto vx = hn::Load(d, buffer);
    const auto [f, slope] = act(d, vx);
    if constexpr (kWrite) {
      hn::Store(hn::MulAdd(vscale, f, voffset), d, buffer);
      std::copy_n(buffer, size - i, y + i);
    }
    if constexpr (kMeasure) {
      const auto s = hn::IfThenElseZero(in, hn::Sub(vx, vpivot));
      const auto fi = hn::IfThenElseZero(in, f);
      const auto si = hn::IfThenElseZero(in, slope);
      shifted.Add(s);
      shifted_square.AddProduct(s, s);
      value.Add(fi);
      value_square.AddProduct(fi, fi);
      slope_square.AddProduct(si, si);
    }
  }
  flush();
  if constexpr (kMeasure) {
    const double count = static_cast<double>(size);
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

template <class Act>
void BackwardBlock(const Act& act, const float* x, const float* g, std::size_t size, float scale, float* dx,
                   GradientSums* sums) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto vscale = hn::Set(d, scale);
  Sum gradient(d), gradient_value(d);

  std::size_t i = 0;
  const auto whole = [&](std::size_t at) HWY_ATTR {
    const auto [f, slope] = act(d, hn::LoadU(d, x + at));
    const auto vg = hn::LoadU(d, g + at);
    hn::StoreU(hn::Mul(hn::Mul(vscale, vg), slope), d, dx + at);
    gradient.Add(vg);
    gradient_value.AddProduct(vg, f);
  };
  const auto flush = [&]() HWY_ATTR {
    gradient.Flush(d);
    gradient_value.Flush(d);
  };
  const std::size_t stride = kVectorsPerFlush * lanes;
  for (; i + stride <= size; i += stride) {
    for (std::size_t k = 0; k < stride; k += lanes) whole(i + k);
    flush();
  }
  for (; i + lanes <= size; i += lanes) whole(i);
  if (i < size) {
    HWY_ALIGN float x_buffer[hn::MaxLanes(d)] = {};
    HWY_ALIGN float g_buffer[hn::MaxLanes(d)] = {};  // zero lanes add nothing to the sums: f(0) is finite
    std::copy_n(x + i, size - i, x_buffer);
    std::copy_n(g + i, size - i, g_buffer);
    const auto [f, slope] = act(d, hn::Load(d, x_buffer));
    const auto vg = hn::Load(d, g_buffer);
    gradient.Add(vg);
    gradient_value.AddProduct(vg, f);
    hn::Store(hn::Mul(hn::Mul(vscale, vg), slope), d, g_buffer);
    std::copy_n(g_buffer, size - i, dx + i);
  }
  flush();
  sums->gradient = gradient.Total();
  sums->gradient_value = gradient_value.Total();
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_CPU_BLOCKS_INL_H_
