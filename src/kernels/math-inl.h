// Elementary functions on vectors of float or double: D is hn::ScalableTag<float> or hn::ScalableTag<double>. For CUDA
// a vector is one number; see kernels/vectors.h.
//
// Arguments come clamped to where the results are normal numbers, so that no function needs a special case.

#if defined(ANACT_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_MATH_INL_H_
#undef ANACT_KERNELS_MATH_INL_H_
#else
#define ANACT_KERNELS_MATH_INL_H_
#endif

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

#include "kernels/coefficients.h"
#include "kernels/vectors.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Constant(D d, double value) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(value));
}

// The larger of limit and x, or NaN for a NaN.
template <class D, class V>
HWY_INLINE V AtLeast(D d, double limit, V x) {
  const auto low = Constant(d, limit);
#if HWY_ARCH_X86
  return hn::Max(low, x);  // gives the second operand when either is NaN
#else
  return hn::IfThenElse(hn::Lt(x, low), low, x);
#endif
}

template <class D, class V>
HWY_INLINE V AtMost(D d, double limit, V x) {
  const auto high = Constant(d, limit);
#if HWY_ARCH_X86
  return hn::Min(high, x);
#else
  return hn::IfThenElse(hn::Gt(x, high), high, x);
#endif
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

// `negative` below 0 and `other` above; either at 0.
template <class D, class V>
HWY_INLINE V IfNegative(D d, V x, V negative, V other) {
#if HWY_TARGET == HWY_SSSE3
  // Highway 1.0.3 blends the bits one by one there.
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), negative, other);
#else
  (void)d;
  return hn::IfNegativeThenElse(x, negative, other);
#endif
}

// The polynomial with these coefficients, constant term first.
template <class D, class V, std::size_t n>
HWY_INLINE V Polynomial(D d, V x, const std::array<hn::TFromD<D>, n>& coefficients) {
  auto sum = hn::Set(d, coefficients[n - 1]);
  for (std::size_t i = n - 1; i-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(d, coefficients[i]));
  return sum;
}

// The same in steps of a square that is there already: as much work with half the waiting.
template <std::size_t kFirst = 0, class D, class V, std::size_t n>
HWY_INLINE V Polynomial(D d, V x, V square, const std::array<hn::TFromD<D>, n>& coefficients) {
  if constexpr (kFirst + 1 == n) {
    return hn::Set(d, coefficients[kFirst]);
  } else {
    const auto pair = hn::MulAdd(hn::Set(d, coefficients[kFirst + 1]), x, hn::Set(d, coefficients[kFirst]));
    if constexpr (kFirst + 2 == n) {
      return pair;
    } else {
      return hn::MulAdd(Polynomial<kFirst + 2>(d, x, square, coefficients), square, pair);
    }
  }
}

// 1 / x for a normal x whose reciprocal is normal too, to an error of 1 ulp.
template <class D, class V>
HWY_INLINE V Reciprocal(D d, V x) {
#if (HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86) || defined(ANACT_CUDA)
  // Half the cost of the division: 14 bits or more, doubled by a step of Newton's.
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    const auto estimate = hn::ApproximateReciprocal(x);
    return hn::MulAdd(hn::NegMulAdd(x, estimate, Constant(d, 1)), estimate, estimate);
  }
#endif
  return hn::Div(Constant(d, 1), x);
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
  const auto mask = hn::Set(du, static_cast<hwy::MakeUnsigned<hn::TFromD<D>>>(kSingle ? ~0xFFFULL : ~0x7FFFFFFULL));
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
  // 1 + exp(t), which need not wait for Exp().
  template <class D>
  HWY_INLINE V OnePlusExp(D d) const {
    return hn::MulAdd(power, tail, hn::Add(power, Constant(d, 1)));
  }
};

// Adding this rounds to an integer n and leaves the exponent bits of 2^(n + kExtra) in the last bits.
template <typename T, int kExtra = 0>
inline constexpr T kRounder = sizeof(T) == 4 ? T{0x1.8p23} + 127 + kExtra : T{0x1.8p52} + 1023 + kExtra;

// The coefficients of p(-r) for those of p(r).
template <typename T, std::size_t n>
constexpr std::array<T, n> Mirrored(std::array<T, n> coefficients) {
  for (std::size_t i = 1; i < n; i += 2) coefficients[i] = -coefficients[i];
  return coefficients;
}

// `rounded` is n + kRounder and r, or -r with kNegative, is what n leaves of the argument.
template <bool kNegative = false, class D, class V>
HWY_INLINE ExpParts<V> ExpOfReduced(D d, V rounded, V r) {
  using T = hn::TFromD<D>;
  const hn::RebindToUnsigned<D> du;
  constexpr int kMantissaBits = sizeof(T) == 4 ? 23 : 52;
  constexpr auto kTail = kNegative ? Mirrored(Coefficients<T>::kExpTail) : Coefficients<T>::kExpTail;
  const auto power = hn::BitCast(d, hn::ShiftLeft<kMantissaBits>(hn::BitCast(du, rounded)));
  const auto square = hn::Mul(r, r);
  const auto rest = Polynomial(d, r, square, kTail);
  return {power, kNegative ? hn::MulSub(square, rest, r) : hn::MulAdd(square, rest, r)};
}

// t + n ln 2.
template <class D, class V>
HWY_INLINE V AddLn2(D d, V t, V n) {
  using T = hn::TFromD<D>;
#if HWY_NATIVE_FMA
  // With an exact product one step will do in float: it is off by |n| / 125 * 4 ulp of exp(t).
  if constexpr (sizeof(T) == 4) return hn::MulAdd(n, Constant(d, std::numbers::ln2), t);
#endif
  constexpr auto kLn2 = Coefficients<T>::kLn2;
  return hn::MulAdd(n, hn::Set(d, kLn2[1]), hn::MulAdd(n, hn::Set(d, kLn2[0]), t));
}

// exp(-t) for |t| <= kExpLimit.
template <class D, class V>
HWY_INLINE ExpParts<V> SplitExpOfNegative(D d, V t) {
  const auto rounder = hn::Set(d, kRounder<hn::TFromD<D>>);
  const auto rounded = hn::MulAdd(t, Constant(d, -std::numbers::log2e), rounder);
  return ExpOfReduced<true>(d, rounded, AddLn2(d, t, hn::Sub(rounded, rounder)));
}

// exp(t) for |t| <= kExpLimit.
template <class D, class V>
HWY_INLINE ExpParts<V> SplitExp(D d, V t) {
  const auto rounder = hn::Set(d, kRounder<hn::TFromD<D>>);
  const auto rounded = hn::MulAdd(t, Constant(d, std::numbers::log2e), rounder);
  return ExpOfReduced(d, rounded, AddLn2(d, t, hn::Sub(rounder, rounded)));
}

// exp(t.high + t.low) for |t.high| <= kExpLimit and |t.low| << 1.
template <class D, class V>
HWY_INLINE ExpParts<V> SplitExp(D d, TwoPart<V> t) {
  const auto rounder = hn::Set(d, kRounder<hn::TFromD<D>>);
  const auto rounded = hn::MulAdd(t.high, Constant(d, std::numbers::log2e), rounder);
  return ExpOfReduced(d, rounded, hn::Add(AddLn2(d, t.high, hn::Sub(rounder, rounded)), t.low));
}

template <class D, class V>
HWY_INLINE V Exp(D d, V t) {
  return SplitExp(d, t).Exp();
}

// The constants of exp(rate * x) with the reduction done on x, in steps of ln 2 / rate: rate * x is then rounded
// nowhere.
template <typename T>
struct ExpRate {
  T rate;
  T steps;  // the steps to a unit of x
  T high;   // the step, with so few bits that a multiple of it is exact
  T low;
  double reach;  // |rate * x| <= kExpLimit up to this size of x

  explicit ExpRate(double value) : rate(static_cast<T>(value)), reach(kExpLimit<T> / std::abs(value)) {
    using Bits = hwy::MakeUnsigned<T>;
    constexpr auto kLn2 = Coefficients<double>::kLn2;
    constexpr Bits kMask = sizeof(T) == 4 ? static_cast<Bits>(~0xFFULL) : static_cast<Bits>(~0x7FFULL);
    const double exact_rate = rate;
    steps = static_cast<T>(exact_rate * std::numbers::log2e);
    high = std::bit_cast<T>(
        static_cast<Bits>(std::bit_cast<Bits>(static_cast<T>(std::numbers::ln2 / exact_rate)) & kMask));
    low = static_cast<T>((std::fma(-static_cast<double>(high), exact_rate, kLn2[0]) + kLn2[1]) / exact_rate);
  }
};

// For either arithmetic.
struct ExpRates : ExpRate<float>, ExpRate<double> {
  explicit ExpRates(double value) : ExpRate<float>(value), ExpRate<double>(value) {}
};

// exp(rate * x) for |rate * x| <= kExpLimit, with the power times 2^kExtra.
template <int kExtra = 0, class D, class V>
HWY_INLINE ExpParts<V> SplitExp(D d, V x, const ExpRate<hn::TFromD<D>>& rate) {
  const auto rounder = hn::Set(d, kRounder<hn::TFromD<D>, kExtra>);
  const auto rounded = hn::MulAdd(x, hn::Set(d, rate.steps), rounder);
  const auto n = hn::Sub(rounded, rounder);
  auto r = hn::NegMulAdd(n, hn::Set(d, rate.high), x);
  r = hn::NegMulAdd(n, hn::Set(d, rate.low), r);
  return ExpOfReduced(d, rounded, hn::Mul(r, hn::Set(d, rate.rate)));
}

// For e = exp(-|z|): log(1 + e), the logistic function of |z| and that of -|z|, with one division.
template <class V>
struct LogisticParts {
  V log1p;
  V larger;
  V smaller;
};

template <class D, class V>
HWY_INLINE LogisticParts<V> Logistic(D d, V e) {
  using C = Coefficients<hn::TFromD<D>>;
  const auto one = Constant(d, 1);
  const auto sum = hn::Add(one, e);
  const auto numerator = hn::Mul(hn::Mul(e, e), Polynomial(d, e, C::kLog1pNumerator));
  const auto denominator = Polynomial(d, e, C::kLog1pDenominator);
  const auto inverse = Reciprocal(d, hn::Mul(sum, denominator));
  const auto larger = hn::Mul(denominator, inverse);
  return {hn::NegMulAdd(numerator, hn::Mul(sum, inverse), e), larger, hn::Mul(e, larger)};
}

// tanh|x| = numerator / denominator and tanh'(x) = 4 e / denominator^2, with e = exp(-2|x|).
template <class V>
struct TanhParts {
  V numerator;
  V denominator;
  V e;
};

template <class D, class V>
HWY_INLINE TanhParts<V> Tanh(D d, V x) {
  const auto magnitude = AtMost(d, kExpLimit<hn::TFromD<D>> / 2, hn::Abs(x));
  const auto parts = SplitExp(d, hn::Mul(magnitude, Constant(d, -2)));
  const auto e = parts.Exp();
  // 1 - e, without the cancellation.
  const auto numerator = hn::NegMulAdd(parts.power, parts.tail, hn::Sub(Constant(d, 1), parts.power));
  return {numerator, hn::Add(e, Constant(d, 1)), e};
}

// Phi(-|x|) and phi(x), the normal distribution function and its density, with their digits also in the tail.
template <class V>
struct NormalParts {
  V tail;
  V density;
};

template <class D, class V>
HWY_INLINE NormalParts<V> Normal(D d, V x) {
  using C = Coefficients<hn::TFromD<D>>;
  const auto magnitude = hn::Abs(x);
  const auto e = SplitExp(d, Product(d, x, hn::Mul(x, Constant(d, -0.5)))).Exp();
  const auto ratio =
      hn::Div(Polynomial(d, magnitude, C::kNormalTailNumerator), Polynomial(d, magnitude, C::kNormalTailDenominator));
  return {hn::Mul(e, ratio), hn::Mul(e, Constant(d, std::numbers::inv_sqrtpi / std::numbers::sqrt2))};
}

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_MATH_INL_H_
