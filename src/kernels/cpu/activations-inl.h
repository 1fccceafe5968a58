// The activations on vectors, one struct each: value and derivative together, since they share their costly part.
//
// Included once per instruction set; see Highway's foreach_target.h for why the guard is toggled.

#if defined(ANACT_KERNELS_CPU_ACTIVATIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_CPU_ACTIVATIONS_INL_H_
#undef ANACT_KERNELS_CPU_ACTIVATIONS_INL_H_
#else
#define ANACT_KERNELS_CPU_ACTIVATIONS_INL_H_
#endif

#include <hwy/highway.h>

#include "anact/activation.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class V>
struct ValueAndDerivative {
  V value;
  V derivative;
};

// exp(-|x|), relative error 3e-9 before rounding; 0 once it would be below the smallest normal float.
//
// The argument is split as n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that n times the first is exact, and
// exp(r) = 1 + r + r^2 q(r) with q by the Remez exchange for the relative error.
template <class D, class V>
HWY_INLINE V ExpMinusAbs(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto t = hn::Abs(x);
  const auto n = hn::NearestInt(hn::Mul(t, hn::Set(d, -1.44269504088896341F)));
  const auto nf = hn::ConvertTo(d, n);
  auto r = hn::NegMulAdd(nf, hn::Set(d, 0.693359375F), hn::Neg(t));
  r = hn::NegMulAdd(nf, hn::Set(d, -2.12194440054690583e-4F), r);
  auto q = hn::Set(d, 0.00138145401768F);
  q = hn::MulAdd(q, r, hn::Set(d, 0.00836874510894F));
  q = hn::MulAdd(q, r, hn::Set(d, 0.0416683907835F));
  q = hn::MulAdd(q, r, hn::Set(d, 0.16666520399F));
  q = hn::MulAdd(q, r, hn::Set(d, 0.499999934321F));
  const auto one = hn::Set(d, 1.0F);
  const auto p = hn::MulAdd(hn::Mul(r, r), q, hn::Add(r, one));
  // 2^n, through the exponent's bits.
  const auto power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
  // A NaN fails the comparison and so stays a NaN.
  return hn::IfThenZeroElse(hn::Gt(t, hn::Set(d, 87.3365F)), hn::Mul(p, power));
}

struct Relu {
  explicit Relu(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto zero = hn::Zero(d);
    // Not "x > 0", so that a NaN goes through as PyTorch lets it.
    const auto off = hn::Le(x, zero);
    return {hn::IfThenZeroElse(off, x), hn::IfThenZeroElse(off, hn::Set(d, 1.0F))};
  }
};

struct Silu {
  explicit Silu(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto one = hn::Set(d, 1.0F);
    const auto e = ExpMinusAbs(d, x);
    const auto larger = hn::Div(one, hn::Add(one, e));
    const auto smaller = hn::Mul(e, larger);  // 1 - larger, without the cancellation
    const auto negative = hn::Lt(x, hn::Zero(d));
    const auto sigmoid = hn::IfThenElse(negative, smaller, larger);
    const auto complement = hn::IfThenElse(negative, larger, smaller);
    return {hn::Mul(x, sigmoid), hn::Mul(sigmoid, hn::MulAdd(x, complement, one))};
  }
};

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_CPU_ACTIVATIONS_INL_H_
