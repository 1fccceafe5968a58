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

#include "kernels/activations-inl.h"
#include "kernels/cpu/elements-inl.h"
#include "kernels/cpu/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Pairs of vectors that are added in float before the sum is carried on in double: few enough that their rounding is
// beside the rounding of the terms themselves. In double it is the first of two levels of the sum.
inline constexpr std::size_t kPairsPerFlush = 16;

// A sum that takes pairs of vectors of D and is kept in double.
template <class D>
class Sum {
 public:
  HWY_INLINE explicit Sum(D d) : part_(hn::Zero(d)), total_(hn::Zero(kWide)) {}

  HWY_INLINE void Add(hn::Vec<D> v) { part_ = hn::Add(part_, v); }
  HWY_INLINE void AddProduct(hn::Vec<D> a, hn::Vec<D> b) { part_ = hn::MulAdd(a, b, part_); }
  // One addition to wait for instead of two.
  HWY_INLINE void Add(Pair<hn::Vec<D>> v) { Add(hn::Add(v.first, v.second)); }
  HWY_INLINE void AddProduct(Pair<hn::Vec<D>> a, Pair<hn::Vec<D>> b) {
    Add(hn::MulAdd(a.first, b.first, hn::Mul(a.second, b.second)));
  }

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

// Elements whose f and f' are held at a time, in the first-level cache beside the input and the output.
inline constexpr std::size_t kStripSize = 512;

// f and f' of a strip, in the order of LoadPair.
template <class T>
struct Strip {
  HWY_ALIGN Arithmetic<T> value[kStripSize];
  HWY_ALIGN Arithmetic<T> slope[kStripSize];
};

template <class T>
inline constexpr std::size_t kMaxPair = 2 * hn::MaxLanes(hn::ScalableTag<Arithmetic<T>>());

// As many elements as a pair of vectors holds, the last ones 0.
template <class T>
struct PaddedPair {
  HWY_ALIGN T values[kMaxPair<T>];
  HWY_INLINE PaddedPair(const T* x, std::size_t count) : values{} { std::copy_n(x, count, values); }
};

// What a loop goes through beside x; null where there is nothing to wait for.
template <class T>
struct Companions {
  const T* read = nullptr;
  const T* written = nullptr;
};

template <class T>
HWY_INLINE void PrefetchElements(const T* from, std::size_t count) {
  for (std::size_t at = 0; at < count; at += 64 / sizeof(T)) hwy::Prefetch(from + at);
}

// Evaluates an activation over a strip. The memory of the companions, which would be idle, is asked for meanwhile.
template <class Act, class T>
void EvaluateStrip(const void* activation, const T* x, std::size_t size, Companions<T> companions, Strip<T>& strip) {
  const hn::ScalableTag<Arithmetic<T>> d;
  const std::size_t lanes = hn::Lanes(d);
  const Act act = *static_cast<const Act*>(activation);
  const auto evaluate = [&](const T* from, std::size_t at) HWY_ATTR {
    const auto vx = LoadPair(d, from);
    const auto first = act(d, vx.first);
    const auto second = act(d, vx.second);
    hn::Store(first.value, d, strip.value + at);
    hn::Store(first.derivative, d, strip.slope + at);
    hn::Store(second.value, d, strip.value + at + lanes);
    hn::Store(second.derivative, d, strip.slope + at + lanes);
  };
  const std::size_t whole = size - size % (2 * lanes);
  if (companions.read == nullptr) {
    for (std::size_t at = 0; at < whole; at += 2 * lanes) evaluate(x + at, at);
  } else {
    for (std::size_t at = 0; at < whole; at += 2 * lanes) {
      PrefetchElements(companions.read + at, 2 * lanes);
      PrefetchElements(companions.written + at, 2 * lanes);
      evaluate(x + at, at);
    }
  }
  if (whole < size) evaluate(PaddedPair<T>(x + whole, size - whole).values, whole);
}

// Where the loops below have f and f' from. `Begin` is called for each strip, then the call operator for its pairs.
//
// Where vector registers are few, a costly activation is evaluated strip by strip, apart from the sums: in one loop the
// processor's scheduler would be full of operations that wait for the end of a long chain.
template <class T>
class ByStrips {
 public:
  template <class Act>
  explicit ByStrips(const Act& act) : evaluate_(&EvaluateStrip<Act, T>), activation_(&act) {}

  HWY_INLINE void Begin(const T* x, std::size_t size, Companions<T> companions) {
    evaluate_(activation_, x, size, companions, strip_);
  }

  template <class D>
  HWY_INLINE Pair<ValueAndDerivative<hn::Vec<D>>> operator()(D d, Pair<hn::Vec<D>>, std::size_t at) const {
    const std::size_t next = at + hn::Lanes(d);
    return {{hn::Load(d, strip_.value + at), hn::Load(d, strip_.slope + at)},
            {hn::Load(d, strip_.value + next), hn::Load(d, strip_.slope + next)}};
  }

 private:
  void (*evaluate_)(const void*, const T*, std::size_t, Companions<T>, Strip<T>&);
  const void* activation_;
  Strip<T> strip_;
};

// Elsewhere, and if it is only a few operations, it is evaluated where it is used.
template <class Act>
class Direct {
 public:
  explicit Direct(const Act& act) : act_(act) {}

  template <class T>
  HWY_INLINE void Begin(const T*, std::size_t, Companions<T>) {}

  template <class D>
  HWY_INLINE Pair<ValueAndDerivative<hn::Vec<D>>> operator()(D d, Pair<hn::Vec<D>> x, std::size_t) const {
    return {act_(d, x.first), act_(d, x.second)};
  }

 private:
  Act act_;
};

// Calls visit(at, in the strip) for each whole pair of vectors, rest(at, in the strip, count) for elements that do not
// fill one, and flush() after every kPairsPerFlush pairs and at the end of each strip.
template <class T, class Source, class Visit, class Rest, class Flush>
HWY_INLINE void ForEachPair(const T* x, Companions<T> companions, std::size_t size, Source& source, const Visit& visit,
                            const Rest& rest, const Flush& flush) {
  const std::size_t pair = 2 * hn::Lanes(hn::ScalableTag<Arithmetic<T>>());
  for (std::size_t start = 0; start < size; start += kStripSize) {
    const std::size_t length = std::min(kStripSize, size - start);
    source.Begin(x + start, length, companions);
    if (companions.read != nullptr) {
      companions.read += kStripSize;
      companions.written += kStripSize;
    }
    const std::size_t whole = length - length % pair;
    for (std::size_t at = 0; at < whole;) {
      const std::size_t stop = std::min(at + kPairsPerFlush * pair, whole);
      for (; at < stop; at += pair) visit(start + at, at);
      flush();
    }
    if (whole == length) continue;
    rest(start + whole, whole, length - whole);
    flush();
  }
}

template <bool kWrite, bool kMeasure, class Source, class T>
void ForwardBlock(Source& source, const T* x, std::size_t size, Arithmetic<T> scale, Arithmetic<T> offset, T* y,
                  bool streaming, Moments* moments) {
  const hn::ScalableTag<Arithmetic<T>> d;
  using V = hn::Vec<decltype(d)>;
  const auto vscale = hn::Set(d, scale);
  const auto voffset = hn::Set(d, offset);
  const Arithmetic<T> pivot = kMeasure ? Pivot(x, size) : 0;
  const auto vpivot = hn::Set(d, pivot);
  Sum shifted(d), shifted_square(d), value(d), value_square(d), slope_square(d);

  const auto add = [&](Pair<V> s, Pair<V> f, Pair<V> slope) HWY_ATTR {
    shifted.Add(s);
    shifted_square.AddProduct(s, s);
    value.Add(f);
    value_square.AddProduct(f, f);
    slope_square.AddProduct(slope, slope);
  };
  const auto shift = [&](Pair<V> v) HWY_ATTR { return Pair<V>{hn::Sub(v.first, vpivot), hn::Sub(v.second, vpivot)}; };
  const auto store = [&](Pair<ValueAndDerivative<V>> a, T* to, bool past) HWY_ATTR {
    StorePair({hn::MulAdd(vscale, a.first.value, voffset), hn::MulAdd(vscale, a.second.value, voffset)}, d, to, past);
  };
  const auto visit = [&](std::size_t at, std::size_t in_strip) HWY_ATTR {
    const auto vx = LoadPair(d, x + at);
    const auto a = source(d, vx, in_strip);
    if constexpr (kWrite) store(a, y + at, streaming);
    if constexpr (kMeasure) {
      add(shift(vx), {a.first.value, a.second.value}, {a.first.derivative, a.second.derivative});
    }
  };
  const auto rest = [&](std::size_t at, std::size_t in_strip, std::size_t count) HWY_ATTR {
    PaddedPair<T> padded(x + at, count);
    const auto vx = LoadPair(d, padded.values);
    const auto a = source(d, vx, in_strip);
    if constexpr (kWrite) {
      store(a, padded.values, false);
      std::copy_n(padded.values, count, y + at);
    }
    if constexpr (kMeasure) {
      // Lanes beyond the elements stay out of the sums.
      const auto in = ElementsOfPair<T>(d, count);
      const auto keep = [&](Pair<V> v) HWY_ATTR {
        return Pair<V>{hn::IfThenElseZero(in.first, v.first), hn::IfThenElseZero(in.second, v.second)};
      };
      add(keep(shift(vx)), keep({a.first.value, a.second.value}), keep({a.first.derivative, a.second.derivative}));
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
  ForEachPair(x, Companions<T>{}, size, source, visit, rest, flush);
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

template <class Source, class T>
void BackwardBlock(Source& source, const T* x, const T* g, std::size_t size, Arithmetic<T> scale, T* dx, bool streaming,
                   GradientSums* sums) {
  const hn::ScalableTag<Arithmetic<T>> d;
  using V = hn::Vec<decltype(d)>;
  const auto vscale = hn::Set(d, scale);
  Sum gradient(d), gradient_value(d);

  const auto take = [&](Pair<ValueAndDerivative<V>> a, Pair<V> vg, T* to, bool past) HWY_ATTR {
    StorePair({hn::Mul(hn::Mul(vscale, vg.first), a.first.derivative),
               hn::Mul(hn::Mul(vscale, vg.second), a.second.derivative)},
              d, to, past);
    gradient.Add(vg);
    gradient_value.AddProduct(vg, Pair<V>{a.first.value, a.second.value});
  };
  const auto visit = [&](std::size_t at, std::size_t in_strip) HWY_ATTR {
    take(source(d, LoadPair(d, x + at), in_strip), LoadPair(d, g + at), dx + at, streaming);
  };
  const auto rest = [&](std::size_t at, std::size_t in_strip, std::size_t count) HWY_ATTR {
    PaddedPair<T> padded(x + at, count);
    const auto a = source(d, LoadPair(d, padded.values), in_strip);
    // The zeros that fill g's last vectors add nothing: f(0) is finite.
    take(a, LoadPair(d, PaddedPair<T>(g + at, count).values), padded.values, false);
    std::copy_n(padded.values, count, dx + at);
  };
  const auto flush = [&]() HWY_ATTR {
    gradient.Flush(d);
    gradient_value.Flush(d);
  };
  ForEachPair(x, Companions<T>{g, dx}, size, source, visit, rest, flush);
  sums->gradient = gradient.Total();
  sums->gradient_value = gradient_value.Total();
}

// Streaming stores need whole aligned vectors.
template <class T>
bool CanStream(const T* to) {
  return reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
}

template <bool kWrite, bool kMeasure, class Source, class T>
void ForwardBlocks(Source source, const T* x, std::size_t size, double scale, double offset, T* y, bool streaming,
                   Moments* moments) {
  for (std::size_t at = 0; at < size; at += kBlockSize) {
    ForwardBlock<kWrite, kMeasure>(source, x + at, std::min(kBlockSize, size - at), Canonical<T>(scale),
                                   Canonical<T>(offset), kWrite ? y + at : nullptr, streaming,
                                   kMeasure ? moments++ : nullptr);
  }
}

template <class Source, class T>
void BackwardBlocks(Source source, const T* x, const T* g, std::size_t size, double scale, T* dx, bool streaming,
                    GradientSums* sums) {
  for (std::size_t at = 0; at < size; at += kBlockSize) {
    BackwardBlock(source, x + at, g + at, std::min(kBlockSize, size - at), Canonical<T>(scale), dx + at, streaming,
                  sums++);
  }
}

#undef ANACT_MANY_REGISTERS
#if (HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86) || HWY_ARCH_ARM_A64
#define ANACT_MANY_REGISTERS 1
#else
#define ANACT_MANY_REGISTERS 0
#endif

// Calls visit with the source that suits loops which sum.
template <class T, class Visitor>
void VisitSource(const Activation& activation, const Visitor& visit) {
  Activations::Visit(activation, [&](const auto& act) {
    using Act = std::decay_t<decltype(act)>;
    if constexpr (ANACT_MANY_REGISTERS || std::is_base_of_v<Simple, Act>) {
      visit(Direct<Act>(act));
    } else {
      visit(ByStrips<T>(act));
    }
  });
}

template <class T>
void ForwardElements(const Activation& activation, const T* x, std::size_t size, double scale, double offset, T* y,
                     Moments* moments, bool streaming) {
  streaming = streaming && CanStream(y);
  if (moments == nullptr) {
    Activations::Visit(activation, [&](const auto& act) {
      ForwardBlocks<true, false>(Direct(act), x, size, scale, offset, y, streaming, moments);
    });
  } else {
    VisitSource<T>(activation, [&](const auto& source) {
      if (y == nullptr) {
        ForwardBlocks<false, true>(source, x, size, scale, offset, y, false, moments);
      } else {
        ForwardBlocks<true, true>(source, x, size, scale, offset, y, streaming, moments);
      }
    });
  }
  if (streaming) hwy::FlushStream();
}

template <class T>
void BackwardElements(const Activation& activation, const T* x, const T* g, std::size_t size, double scale, T* dx,
                      GradientSums* sums, bool streaming) {
  streaming = streaming && CanStream(dx);
  VisitSource<T>(activation,
                 [&](const auto& source) { BackwardBlocks(source, x, g, size, scale, dx, streaming, sums); });
  if (streaming) hwy::FlushStream();
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_CPU_BLOCKS_INL_H_
