// Elementary functions on vectors of float or double: D is hn::ScalableTag<float> or hn::ScalableTag<double>.
//
// Arguments come clamped to where the results are normal numbers, so that no function needs a special case. Clamp and
// its halves let a NaN through: on x86 the result of min and max is the second operand when either is NaN.

#if defined(ANACT_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_CPU_MATH_INL_H_
#undef ANACT_KERNELS_CPU_MATH_INL_H_
#else
#define ANACT_KERNELS_CPU_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

#include "kernels/cpu/coefficients.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Constant(D d, double value) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(value));
}

template <class D, class V>
HWY_INLINE V AtLeast(D d, double limit, V x) {
  return hn::Max(Constant(d, limit), x);
}

template <class D, class V>
HWY_INLINE V AtMost(D d, double limit, V x) {
  return hn::Min(Constant(d, limit), x);
}

template <class D, class V>
HWY_INLINE V Clamp(D d, double low, double high, V x) {
  return AtMost(d, high, AtLeast(d, low, x));
}

// value where the mask holds, else 0.
template <class D, class M>
HWY_INLINE hn::Vec<D> Where(D d, M mask, double value) {
  return hn::IfThenElseZero(mask, Constant(d, value));
}

// The polynomial with these coefficients, constant term first.
template <class D, class V, std::size_t n>
HWY_INLINE V Polynomial(D d, V x, const std::array<hn::TFromD<D>, n>& coefficients) {
  auto sum = hn::Set(d, coefficients[n - 1]);
  for (std::size_t i = n - 1; i-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(d, coefficients[i]));
  return sum;
}

// high + low, low being small beside high.
template <class V>
struct TwoPart {
  V high;
  V low;
};

// The first half of the significant bits of x.
template <class D, class V>
HWY_INLINE V LeadingHalf(D d, V x) {
  constexpr bool kSingle = sizeof(hn::TFromD<D>) == 4;
  const hn::RebindToUnsigned<D> du;
  const auto mask = hn::Set(du, static_cast<hn::MakeUnsigned<hn::TFromD<D>>>(kSingle ? ~0xFFFULL : ~0x7FFFFFFULL));
  return hn::BitCast(d, hn::And(hn::BitCast(du, x), mask));
}

// a * b without rounding (Dekker 1971 where there is no fused multiply-add).
template <class D, class V>
HWY_INLINE TwoPart<V> Product(D d, V a, V b) {
  const auto product = hn::Mul(a, b);
#if HWY_NATIVE_FMA
  (void)d;
  return {product, hn::MulSub(a, b, product)};
#else
  const auto a1 = LeadingHalf(d, a);
  const auto b1 = LeadingHalf(d, b);
  const auto a2 = hn::Sub(a, a1);
  const auto b2 = hn::Sub(b, b1);
  auto error = hn::Sub(hn::Mul(a1, b1), product);
  error = hn::Add(error, hn::Mul(a1, b2));
  error = hn::Add(error, hn::Mul(a2, b1));
  return {product, hn::Add(error, hn::Mul(a2, b2))};
#endif
}

// exp(t) is a normal number for |t| up to this, and so is exp(-t).
template <typename T>
inline constexpr double kExpLimit = sizeof(T) == 4 ? 87.0 : 708.0;

// exp(t) = power * (1 + tail), power a power of two and tail = exp(r) - 1 for an |r| <= ln 2 / 2: exp and expm1 without
// cancellation.
template <class V>
struct ExpParts {
  V power;
  V tail;

  HWY_INLINE V Exp() const { return hn::MulAdd(power, tail, power); }
};

// t = n ln 2 + r; `biased` holds the exponent bits of 2^n.
template <class V>
struct ExpReduced {
  V biased;
  V n;
  V r;
};

// n = round(t * rate / ln 2), through the rounding of the sum with a number whose last bit is worth one. kExtra is added
// to the exponent of the power that comes of it.
template <int kExtra, class D, class V>
HWY_INLINE ExpReduced<V> RoundToPower(D d, V t, double rate) {
  constexpr bool kSingle = sizeof(hn::TFromD<D>) == 4;
  constexpr double kRounder = kSingle ? 0x1.8p23 + 127 + kExtra : 0x1.8p52 + 1023 + kExtra;
  const auto biased = hn::MulAdd(t, Constant(d, rate * std::numbers::log2e), Constant(d, kRounder));
  return {biased, hn::Sub(biased, Constant(d, kRounder)), t};
}

template <class D, class V>
HWY_INLINE ExpParts<V> ExpOfReduced(D d, V biased, V r) {
  using T = hn::TFromD<D>;
  const hn::RebindToUnsigned<D> du;
  constexpr int kMantissaBits = sizeof(T) == 4 ? 23 : 52;
  const auto power = hn::BitCast(d, hn::ShiftLeft<kMantissaBits>(hn::BitCast(du, biased)));
  return {power, hn::MulAdd(hn::Mul(r, r), Polynomial(d, r, Coefficients<T>::kExpTail), r)};
}

// exp(t + low) for |t| <= kExpLimit and a low << 1.
template <class D, class V>
HWY_INLINE ExpParts<V> SplitExp(D d, V t, V low) {
  constexpr auto kLn2 = Coefficients<hn::TFromD<D>>::kLn2;
  const auto [biased, n, unused] = RoundToPower<0>(d, t, 1);
  const auto r = hn::NegMulAdd(n, hn::Set(d, kLn2[0]), t);
  return ExpOfReduced(d, biased, hn::Add(hn::NegMulAdd(n, hn::Set(d, kLn2[1]), r), low));
}

template <class D, class V>
HWY_INLINE ExpParts<V> SplitExp(D d, V t) {
  constexpr auto kLn2 = Coefficients<hn::TFromD<D>>::kLn2;
  const auto [biased, n, unused] = RoundToPower<0>(d, t, 1);
  const auto r = hn::NegMulAdd(n, hn::Set(d, kLn2[0]), t);
  return ExpOfReduced(d, biased, hn::NegMulAdd(n, hn::Set(d, kLn2[1]), r));
}

template <class D, class V>
HWY_INLINE V Exp(D d, V t) {
  return SplitExp(d, t).Exp();
}
