// The activations on vectors, one struct each: value and derivative together, since they share their costly part.
//
// D is the tag of the arithmetic, float or double; the same structs serve CUDA, to which they travel as they are: plain
// data, with what is costly to find in members. An activation is a struct here, with the bounds of its error, and an
// entry in the list at the end; see docs/extending.md.

#if defined(ANACT_KERNELS_ACTIVATIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANACT_KERNELS_ACTIVATIONS_INL_H_
#undef ANACT_KERNELS_ACTIVATIONS_INL_H_
#else
#define ANACT_KERNELS_ACTIVATIONS_INL_H_
#endif

#include "anact/activation.h"
#include "kernels/accuracy.h"
#include "kernels/math-inl.h"
#include "kernels/vectors.h"

HWY_BEFORE_NAMESPACE();
namespace anact::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class V>
struct ValueAndDerivative {
  V value;
  V derivative;
};

// Base of the activations of a few operations, which cost less than the sums over them.
struct Simple {};

// ---- Piecewise linear and quadratic --------------------------------------------------------------------------------

struct Identity : Simple {
  static constexpr auto kKind = ActivationKind::identity;
  static constexpr Accuracy kAccuracy{};
  explicit Identity(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    return {x, Constant(d, 1)};
  }
};

struct Relu : Simple {
  static constexpr auto kKind = ActivationKind::relu;
  static constexpr Accuracy kAccuracy{};
  explicit Relu(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    // Not "x > 0", so that a NaN goes through as PyTorch lets it.
    const auto off = hn::Le(x, hn::Zero(d));
    return {hn::IfThenZeroElse(off, x), hn::IfThenZeroElse(off, Constant(d, 1))};
  }
};

struct Relu2 : Simple {
  static constexpr auto kKind = ActivationKind::relu2;
  static constexpr Accuracy kAccuracy{.value_ulp = 0.5};
  explicit Relu2(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto positive = hn::IfThenZeroElse(hn::Le(x, hn::Zero(d)), x);
    return {hn::Mul(positive, positive), hn::Add(positive, positive)};
  }
};

struct LeakyRelu : Simple {
  static constexpr auto kKind = ActivationKind::leaky_relu;
  static constexpr Accuracy kAccuracy{.value_ulp = 0.5};
  double slope;
  explicit LeakyRelu(const Activation& activation) : slope(activation.parameters[0]) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto derivative = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), Constant(d, 1), Constant(d, slope));
    return {hn::Mul(x, derivative), derivative};
  }
};

struct Hardtanh : Simple {
  static constexpr auto kKind = ActivationKind::hardtanh;
  static constexpr Accuracy kAccuracy{};
  double low, high;
  explicit Hardtanh(const Activation& activation) : Hardtanh(activation.parameters[0], activation.parameters[1]) {}
  Hardtanh(double minimum, double maximum) : low(minimum), high(maximum) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto inside = hn::And(hn::Gt(x, Constant(d, low)), hn::Lt(x, Constant(d, high)));
    return {Clamp(d, low, high, x), Where(d, inside, 1)};
  }
};

struct Relu6 : Hardtanh {
  static constexpr auto kKind = ActivationKind::relu6;
  explicit Relu6(const Activation&) : Hardtanh(0, 6) {}
};

struct Softshrink : Simple {
  static constexpr auto kKind = ActivationKind::softshrink;
  static constexpr Accuracy kAccuracy{.value_ulp = 0.5};
  double limit;
  explicit Softshrink(const Activation& activation) : limit(activation.parameters[0]) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto outside = hn::Gt(hn::Abs(x), Constant(d, limit));
    return {hn::Sub(x, Clamp(d, -limit, limit, x)), Where(d, outside, 1)};
  }
};

struct Hardsigmoid : Simple {
  static constexpr auto kKind = ActivationKind::hardsigmoid;
  static constexpr Accuracy kAccuracy{.value_ulp = 2, .slope_ulp = 0.5};
  explicit Hardsigmoid(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto inside = hn::Lt(hn::Abs(x), Constant(d, 3));
    const auto ramp = Clamp(d, 0, 6, hn::Add(x, Constant(d, 3)));
    return {hn::Mul(ramp, Constant(d, 1.0 / 6)), Where(d, inside, 1.0 / 6)};
  }
};

struct Hardswish : Simple {
  static constexpr auto kKind = ActivationKind::hardswish;
  static constexpr Accuracy kAccuracy{.value_ulp = 3, .slope_ulp = 2};
  explicit Hardswish(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto ramp = Clamp(d, 0, 6, hn::Add(x, Constant(d, 3)));
    // (2x + 3) / 6, with the digits near its zero.
    const auto middle = hn::Mul(hn::Add(x, Constant(d, 1.5)), Constant(d, 1.0 / 3));
    const auto left = hn::IfThenZeroElse(hn::Le(x, Constant(d, -3)), middle);
    const auto derivative = hn::IfThenElse(hn::Ge(x, Constant(d, 3)), Constant(d, 1), left);
    return {hn::Mul(x, hn::Mul(ramp, Constant(d, 1.0 / 6))), derivative};
  }
};

struct Softsign {
  static constexpr auto kKind = ActivationKind::softsign;
  static constexpr Accuracy kAccuracy{.value_ulp = 2.5, .slope_ulp = 4};
  explicit Softsign(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    // The derivative stays a normal number.
    constexpr double kLimit = sizeof(hn::TFromD<D>) == 4 ? 0x1p63 : 0x1p511;
    const auto clamped = Clamp(d, -kLimit, kLimit, x);
    const auto inverse = Reciprocal(d, hn::Add(Constant(d, 1), hn::Abs(clamped)));
    return {hn::Mul(clamped, inverse), hn::Mul(inverse, inverse)};
  }
};

// ---- By the exponential function -----------------------------------------------------------------------------------

// scale * x above 0 and scale * alpha * (exp(x) - 1) below.
struct Elu {
  static constexpr auto kKind = ActivationKind::elu;
  static constexpr Accuracy kAccuracy{.value_ulp = 2, .slope_ulp = 5};
  double scale, negative;
  explicit Elu(const Activation& activation) : Elu(1, activation.parameters[0]) {}
  Elu(double positive_scale, double negative_scale) : scale(positive_scale), negative(negative_scale) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto positive = hn::Gt(x, hn::Zero(d));
    const auto parts = SplitExp(d, Clamp(d, -kExpLimit<hn::TFromD<D>>, 0, x));
    const auto power = hn::Mul(parts.power, Constant(d, negative));
    const auto value = hn::MulAdd(power, parts.tail, hn::Sub(power, Constant(d, negative)));
    const auto derivative = hn::MulAdd(power, parts.tail, power);
    return {hn::IfThenElse(positive, hn::Mul(x, Constant(d, scale)), value),
            hn::IfThenElse(positive, Constant(d, scale), derivative)};
  }
};

struct Selu : Elu {
  static constexpr auto kKind = ActivationKind::selu;
  // The constants of Klambauer et al. (2017): scale, and scale * alpha.
  explicit Selu(const Activation&) : Elu(1.0507009873554804934193349852946, 1.7580993408473768599402175208123) {}
};

struct Celu {
  static constexpr auto kKind = ActivationKind::celu;
  static constexpr Accuracy kAccuracy{.value_ulp = 2, .slope_ulp = 2};
  double alpha;
  ExpRates rates;
  explicit Celu(const Activation& activation) : alpha(activation.parameters[0]), rates(1 / alpha) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    using T = hn::TFromD<D>;
    // With a negative alpha the exponential grows, and may overflow: hence half of it.
    const double limit = alpha > 0 ? -kExpLimit<T> * alpha : (kExpLimit<T> + 2) * alpha;
    const auto positive = hn::Gt(x, hn::Zero(d));
    const ExpRate<T>& rate = rates;
    const auto [power, tail] = SplitExp<-1>(d, Clamp(d, limit, 0, x), rate);
    const auto value = hn::MulAdd(power, tail, hn::Sub(power, Constant(d, 0.5)));
    const auto derivative = hn::MulAdd(power, tail, power);
    return {hn::IfThenElse(positive, x, hn::Mul(value, Constant(d, 2 * alpha))),
            hn::IfThenElse(positive, Constant(d, 1), hn::Add(derivative, derivative))};
  }
};

struct Sigmoid {
  static constexpr auto kKind = ActivationKind::sigmoid;
  static constexpr Accuracy kAccuracy{.value_ulp = 6, .slope_ulp = 6};
  explicit Sigmoid(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    constexpr double kLimit = kExpLimit<hn::TFromD<D>>;
    const auto parts = SplitExpOfNegative(d, Clamp(d, -kLimit, kLimit, x));
    const auto e = parts.Exp();
    const auto sigmoid = Reciprocal(d, parts.OnePlusExp(d));
    // 1 - sigmoid is e * sigmoid, without the cancellation.
    return {sigmoid, hn::Mul(hn::Mul(e, sigmoid), sigmoid)};
  }
};

struct Silu {
  static constexpr auto kKind = ActivationKind::silu;
  static constexpr Accuracy kAccuracy{.value_ulp = 6.5, .slope_ulp = 4, .slope_floor = 0.25};
  explicit Silu(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    constexpr double kLimit = kExpLimit<hn::TFromD<D>>;
    const auto above = AtLeast(d, -kLimit, x);
    const auto clamped = AtMost(d, kLimit, above);
    const auto parts = SplitExpOfNegative(d, clamped);
    const auto sigmoid = Reciprocal(d, parts.OnePlusExp(d));
    const auto complement = hn::Mul(parts.Exp(), sigmoid);
    return {hn::Mul(above, sigmoid), hn::MulAdd(hn::Mul(clamped, sigmoid), complement, sigmoid)};
  }
};

// x * sigmoid(w) with w = x * (rate + cubic * x^2), 2 sqrt(2 / pi) and 0.044715 times that.
struct GeluTanh {
  static constexpr auto kKind = ActivationKind::gelu_tanh;
  static constexpr Accuracy kAccuracy{.value_ulp = 6, .slope_ulp = 4, .slope_floor = 0.25};
  explicit GeluTanh(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    using T = hn::TFromD<D>;
    // |w| stays below kExpLimit.
    constexpr double kLimit = sizeof(T) == 4 ? 9.98 : 21.14;
    constexpr auto kRate = Coefficients<T>::kGeluTanhRate;
    constexpr auto kCubic = Coefficients<T>::kGeluTanhCubic;
    const auto rate = hn::Set(d, kRate[0]);
    const auto above = AtLeast(d, -kLimit, x);
    const auto clamped = AtMost(d, kLimit, above);
    // w as a sum of two, since exp(-w) is as far off as w is. The first part of rate is short, so that the rounding
    // error of the sum is exact.
    const auto square = Product(d, clamped, clamped);
    const auto cubic = Product(d, square.high, hn::Set(d, kCubic[0]));
    const auto factor = hn::Add(rate, cubic.high);
    auto low = hn::Add(hn::Sub(rate, factor), cubic.high);
    low = hn::Add(low, hn::Add(cubic.low, hn::Set(d, kRate[1])));
    low = hn::MulAdd(square.low, hn::Set(d, kCubic[0]), low);
    low = hn::MulAdd(square.high, hn::Set(d, kCubic[1]), low);
    const auto w = Product(d, clamped, factor);
    const auto e = SplitExp(d, TwoPart<V>{hn::Neg(w.high), hn::NegMulAdd(clamped, low, hn::Neg(w.low))}).Exp();
    const auto sigmoid = Reciprocal(d, hn::Add(Constant(d, 1), e));
    const auto complement = hn::Mul(e, sigmoid);
    // x * w'(x)
    const auto growth = hn::Mul(clamped, hn::MulAdd(cubic.high, Constant(d, 3), hn::Set(d, kRate[0] + kRate[1])));
    return {hn::Mul(above, sigmoid), hn::MulAdd(hn::Mul(growth, sigmoid), complement, sigmoid)};
  }
};

struct Gelu {
  static constexpr auto kKind = ActivationKind::gelu;
  static constexpr Accuracy kAccuracy{.value_ulp = 10.5, .slope_ulp = 4, .slope_floor = 0.25};
  explicit Gelu(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    // x^2 / 2 stays below kExpLimit.
    constexpr double kLimit = sizeof(hn::TFromD<D>) == 4 ? 13.19 : 37.62;
    const auto above = AtLeast(d, -kLimit, x);
    const auto clamped = AtMost(d, kLimit, above);
    const auto [tail, density] = Normal(d, clamped);
    const auto cdf = IfNegative(d, clamped, tail, hn::Sub(Constant(d, 1), tail));
    return {hn::Mul(above, cdf), hn::MulAdd(clamped, density, cdf)};
  }
};

// tanh(softplus(x)) = n / (n + 2) with n = e (e + 2), e = exp(x), and its derivative is 4 e (e + 1) / (n + 2)^2.
struct Mish {
  static constexpr auto kKind = ActivationKind::mish;
  static constexpr Accuracy kAccuracy{.value_ulp = 6, .slope_ulp = 5, .slope_floor = 0.25};
  explicit Mish(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    constexpr double kLimit = kExpLimit<hn::TFromD<D>>;
    const auto two = Constant(d, 2);
    const auto above = AtLeast(d, -kLimit, x);
    const auto clamped = AtMost(d, kLimit / 2 - 4, above);
    const auto e = Exp(d, clamped);
    const auto n = hn::Mul(e, hn::Add(e, two));
    const auto inverse = Reciprocal(d, hn::Add(n, two));
    const auto factor = hn::Mul(n, inverse);
    const auto growth = hn::Mul(hn::Mul(clamped, Constant(d, 4)), hn::MulAdd(e, e, e));
    return {hn::Mul(above, factor), hn::MulAdd(hn::Mul(growth, inverse), inverse, factor)};
  }
};

struct Softplus {
  static constexpr auto kKind = ActivationKind::softplus;
  static constexpr Accuracy kAccuracy{.value_ulp = 4, .slope_ulp = 4};
  double beta, inverse, threshold;
  ExpRates rates;  // of -|beta|
  explicit Softplus(const Activation& activation)
      : beta(activation.parameters[0]),
        inverse(1 / beta),
        threshold(activation.parameters[1]),
        rates(-std::abs(beta)) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    using T = hn::TFromD<D>;
    const ExpRate<T>& rate = rates;
    const auto z = hn::Mul(x, Constant(d, beta));
    const auto positive = hn::Gt(z, hn::Zero(d));
    const auto linear = hn::Gt(z, Constant(d, threshold));
    const auto magnitude = AtMost(d, rate.reach, hn::Abs(x));
    const auto parts = Logistic(d, SplitExp(d, magnitude, rate).Exp());
    const auto value = hn::MulAdd(parts.log1p, Constant(d, inverse), hn::IfThenElseZero(positive, x));
    const auto derivative = hn::IfThenElse(positive, parts.larger, parts.smaller);
    return {hn::IfThenElse(linear, x, value), hn::IfThenElse(linear, Constant(d, 1), derivative)};
  }
};

struct Logsigmoid {
  static constexpr auto kKind = ActivationKind::logsigmoid;
  static constexpr Accuracy kAccuracy{.value_ulp = 5, .slope_ulp = 5};
  explicit Logsigmoid(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto positive = hn::Gt(x, hn::Zero(d));
    const auto parts = Logistic(d, SplitExpOfNegative(d, AtMost(d, kExpLimit<hn::TFromD<D>>, hn::Abs(x))).Exp());
    return {hn::Sub(AtMost(d, 0, x), parts.log1p), hn::IfThenElse(positive, parts.smaller, parts.larger)};
  }
};

struct TanhActivation {
  static constexpr auto kKind = ActivationKind::tanh;
  static constexpr Accuracy kAccuracy{.value_ulp = 4, .slope_ulp = 5.5};
  explicit TanhActivation(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    const auto parts = Tanh(d, x);
    const auto inverse = Reciprocal(d, parts.denominator);
    const auto magnitude = hn::Mul(parts.numerator, inverse);
    const auto derivative = hn::Mul(hn::Mul(hn::Mul(parts.e, Constant(d, 4)), inverse), inverse);
    return {hn::CopySignToAbs(magnitude, x), derivative};
  }
};

struct Tanhshrink {
  static constexpr auto kKind = ActivationKind::tanhshrink;
  static constexpr Accuracy kAccuracy{.value_ulp = 5.5, .slope_ulp = 4.5};
  explicit Tanhshrink(const Activation&) {}

  template <class D, class V>
  HWY_INLINE ValueAndDerivative<V> operator()(D d, V x) const {
    using C = Coefficients<hn::TFromD<D>>;
    // Near 0 x - tanh(x) is the quotient, elsewhere tanh(x) is.
    const auto near = hn::Lt(hn::Abs(x), Constant(d, 1.4));
    const auto square = hn::Mul(x, x);
    const auto parts = Tanh(d, x);
    const auto cube = hn::Mul(hn::Mul(square, x), Polynomial(d, square, C::kTanhshrinkNumerator));
    const auto numerator = hn::IfThenElse(near, cube, hn::CopySignToAbs(parts.numerator, x));
    const auto denominator = hn::IfThenElse(near, Polynomial(d, square, C::kTanhshrinkDenominator), parts.denominator);
    const auto quotient = hn::Div(numerator, denominator);
    const auto rest = hn::Sub(x, quotient);
    const auto tanh = hn::IfThenElse(near, rest, quotient);
    return {hn::IfThenElse(near, quotient, rest), hn::Mul(tanh, tanh)};
  }
};

// ---- The list ------------------------------------------------------------------------------------------------------

// Calls visit with the struct of the activation; false where there is none.
template <class... Structs>
struct ActivationList {
  template <class Visitor>
  static bool Visit(const Activation& activation, Visitor visit) {
    return ((activation.kind == Structs::kKind && (visit(Structs(activation)), true)) || ...);
  }
};

// Every activation with a kernel: what dispatch, has_kernel and the tests go by.
using Activations =
    ActivationList<Celu, Elu, Gelu, GeluTanh, Hardsigmoid, Hardswish, Hardtanh, Identity, LeakyRelu, Logsigmoid, Mish,
                   Relu, Relu2, Relu6, Selu, Sigmoid, Silu, Softplus, Softshrink, Softsign, TanhActivation, Tanhshrink>;

}  // namespace anact::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANACT_KERNELS_ACTIVATIONS_INL_H_
