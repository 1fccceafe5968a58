// The element types in memory and as vectors of the type of their arithmetic.

#if defined(ANACT_KERNELS_CPU_ELEMENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_CPU_ELEMENTS_INL_H_
#undef ANACT_KERNELS_CPU_ELEMENTS_INL_H_
#else
#define ANACT_KERNELS_CPU_ELEMENTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cpu/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

// The 16 bits of each lane, in vectors half as wide as those of float.
using HalfBits = hn::Rebind<std::uint16_t, hn::ScalableTag<float>>;

#undef ANACT_HAS_F16C
#if HWY_TARGET <= HWY_AVX2 && HWY_ARCH_X86
#define ANACT_HAS_F16C 1
#else
#define ANACT_HAS_F16C 0
#endif

// ---- bfloat16 ------------------------------------------------------------------------------------------------------

template <class D>
HWY_INLINE hn::Vec<D> Widen(D d, hn::Vec<HalfBits> bits, BFloat16) {
  const hn::RebindToUnsigned<D> du;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

// The bits rounded to the upper 16. No NaN is looked for: arithmetic gives quiet ones, and their lower bits, which
// might carry into the sign, are zero as long as no operand brings others (see Canonical).
template <class D, class V>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> RoundToBFloat16(D, V v) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, v);
  // Just below a half, and one more for an odd last bit: a carry is a rounding up, of a tie to the even neighbour.
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  return hn::Add(hn::Add(bits, hn::Set(du, 0x7FFF)), odd);
}

template <class D, class V>
HWY_INLINE hn::Vec<HalfBits> Narrow(D d, V v, BFloat16) {
  const auto rounded = hn::ShiftRight<16>(RoundToBFloat16(d, v));
  return hn::DemoteTo(HalfBits(), hn::BitCast(hn::RebindToSigned<D>(), rounded));
}

// ---- float16 -------------------------------------------------------------------------------------------------------

#if ANACT_HAS_F16C

template <class D>
HWY_INLINE hn::Vec<D> Widen(D d, hn::Vec<HalfBits> bits, Float16) {
  return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), bits));
}

template <class D, class V>
HWY_INLINE hn::Vec<HalfBits> Narrow(D, V v, Float16) {
  return hn::BitCast(HalfBits(), hn::DemoteTo(hn::Rebind<hwy::float16_t, D>(), v));
}

#else

template <class D>
HWY_INLINE hn::Vec<D> Widen(D d, hn::Vec<HalfBits> bits, Float16) {
  const hn::RebindToSigned<D> di;
  const auto wide = hn::PromoteTo(di, bits);
  const auto sign = hn::ShiftLeft<16>(hn::And(wide, hn::Set(di, 0x8000)));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(wide, hn::Set(di, 0x7FFF)));
  // The exponents' biases differ by 112.
  const auto normal = hn::Add(magnitude, hn::Set(di, 112 << 23));
  // Subnormal: put a leading one in front, and subtract it again.
  const auto leading = hn::Set(di, 113 << 23);
  const auto subnormal = hn::Sub(hn::BitCast(d, hn::Add(magnitude, leading)), hn::BitCast(d, leading));
  // Infinity and NaN.
  const auto special = hn::Or(magnitude, hn::Set(di, 0x7F800000));
  auto result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 1 << 23)), hn::BitCast(di, subnormal), normal);
  result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 31 << 23)), result, special);
  return hn::BitCast(d, hn::Or(result, sign));
}

template <class D, class V>
HWY_INLINE hn::Vec<HalfBits> Narrow(D d, V v, Float16) {
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(di, v);
  const auto magnitude = hn::And(bits, hn::Set(di, 0x7FFFFFFF));
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 0x8000));
  // As for bfloat16, with 13 bits to lose; from 65520 on the carry reaches infinity.
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(di, 1));
  const auto rebiased = hn::Sub(magnitude, hn::Set(di, 112 << 23));
  const auto normal = hn::ShiftRight<13>(hn::Add(rebiased, hn::Add(odd, hn::Set(di, 0xFFF))));
  // Below 2^-14: beside 1/2 the last bit of a float is worth the least subnormal number, so the addition rounds.
  const auto half = Constant(d, 0.5);
  const auto subnormal = hn::Sub(hn::BitCast(di, hn::Add(hn::BitCast(d, magnitude), half)), hn::BitCast(di, half));
  auto result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 113 << 23)), subnormal, normal);
  result = hn::IfThenElse(hn::Gt(magnitude, hn::Set(di, 0x477FFFFF)), hn::Set(di, 0x7C00), result);
  result = hn::IfThenElse(hn::Gt(magnitude, hn::Set(di, 0x7F800000)), hn::Set(di, 0x7E00), result);
  return hn::DemoteTo(HalfBits(), hn::Or(result, sign));
}

#endif  // ANACT_HAS_F16C

// A factor of the caller's in the type of the arithmetic, a NaN without its payload.
template <class T>
Arithmetic<T> Canonical(double factor) {
  return factor != factor ? std::numeric_limits<Arithmetic<T>>::quiet_NaN() : static_cast<Arithmetic<T>>(factor);
}

// ---- Memory --------------------------------------------------------------------------------------------------------

// As many elements as D has lanes, from an address of any alignment.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadElements(D d, const T* from) {
  if constexpr (std::is_same_v<T, hn::TFromD<D>>) {
    return hn::LoadU(d, from);
  } else {
    return Widen(d, hn::LoadU(HalfBits(), &from->bits), T());
  }
}

// Stores a vector, past the caches with `streaming` unless it is too short for that: less than 16 bytes.
template <class D>
HWY_INLINE void StoreVector(hn::Vec<D> v, D d, hn::TFromD<D>* to, bool streaming) {
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) >= 16) {
    if (streaming) {
      hn::Stream(v, d, to);
      return;
    }
  }
  hn::StoreU(v, d, to);
}

template <class V, class D, class T>
HWY_INLINE void StoreElements(V v, D d, T* to, bool streaming) {
  if constexpr (std::is_same_v<T, hn::TFromD<D>>) {
    StoreVector(v, d, to, streaming);
  } else {
    StoreVector(Narrow(d, v, T()), HalfBits(), &to->bits, streaming);
  }
}

template <class V>
struct Pair {
  V first;
  V second;
};

// Two vectors of D, from twice as many elements as it has lanes. Which element is in which lane is StorePair's affair:
// those of bfloat16 are the even ones and the odd ones, which no shuffle has to part.
template <class D, class T>
HWY_INLINE Pair<hn::Vec<D>> LoadPair(D d, const T* from) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    const hn::RebindToUnsigned<D> du;
    const auto bits = hn::BitCast(du, hn::LoadU(hn::Repartition<std::uint16_t, D>(), &from->bits));
    return {hn::BitCast(d, hn::ShiftLeft<16>(bits)), hn::BitCast(d, hn::And(bits, hn::Set(du, 0xFFFF0000)))};
  } else {
    return {LoadElements(d, from), LoadElements(d, from + hn::Lanes(d))};
  }
}

// Which lanes of LoadPair hold the first `count` elements.
template <class T, class D>
HWY_INLINE Pair<hn::Mask<D>> ElementsOfPair(D d, std::size_t count) {
  const std::size_t lanes = hn::Lanes(d);
  if constexpr (std::is_same_v<T, BFloat16>) {
    return {hn::FirstN(d, (count + 1) / 2), hn::FirstN(d, count / 2)};
  } else {
    return {hn::FirstN(d, std::min(count, lanes)), hn::FirstN(d, count - std::min(count, lanes))};
  }
}

template <class D, class T>
HWY_INLINE void StorePair(Pair<hn::Vec<D>> v, D d, T* to, bool streaming) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    const hn::Repartition<std::uint16_t, D> d16;
    const auto even = hn::BitCast(d16, hn::ShiftRight<16>(RoundToBFloat16(d, v.first)));
    const auto bits = hn::OddEven(hn::BitCast(d16, RoundToBFloat16(d, v.second)), even);
    StoreVector(bits, d16, &to->bits, streaming);
  } else {
    StoreElements(v.first, d, to, streaming);
    StoreElements(v.second, d, to + hn::Lanes(d), streaming);
  }
}

// One element in the type of its arithmetic.
template <class T>
HWY_INLINE Arithmetic<T> ToArithmetic(T element) {
  if constexpr (std::is_same_v<T, Arithmetic<T>>) {
    return element;
  } else {
    const hn::ScalableTag<float> d;
    return hn::GetLane(Widen(d, hn::Set(HalfBits(), element.bits), T()));
  }
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_CPU_ELEMENTS_INL_H_
