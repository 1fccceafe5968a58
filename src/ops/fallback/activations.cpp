#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <stdexcept>

#include "ops/fallback/anact.h"

namespace anact::ops::fallback {
namespace {

// SELU's constants, Klambauer et al. (2017).
constexpr double kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kSeluScale = 1.0507009873554804934193349852946;
// gelu(approximate='tanh'): tanh(kGeluBeta (x + kGeluKappa x^3)).
constexpr double kGeluBeta = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
constexpr double kGeluKappa = 0.044715;

// 1 where the condition holds.
at::Tensor indicator(const at::Tensor& condition, const at::Tensor& x) { return condition.to(x.scalar_type()); }

// scale * exp(x / divisor) below 0 and `positive` above, as the derivatives of the elu family. The exponent's argument
// is cut at 0, since a branch that where() discards would still put inf * 0 into a second derivative.
at::Tensor exponential_below(const at::Tensor& x, double scale, double divisor, double positive) {
  return at::where(x > 0, positive, at::exp(x.clamp_max(0) / divisor) * scale);
}

}  // namespace

at::Tensor value(const Activation& activation, const at::Tensor& x) {
  const auto& p = activation.parameters;
  switch (activation.kind) {
    case ActivationKind::relu:
      return at::relu(x);
    case ActivationKind::relu6:
      return at::relu6(x);
    case ActivationKind::leaky_relu:
      return at::leaky_relu(x, p[0]);
    case ActivationKind::elu:
      return at::elu(x, p[0]);
    case ActivationKind::selu:
      return at::selu(x);
    case ActivationKind::celu:
      return at::celu(x, p[0]);
    case ActivationKind::gelu:
      return at::gelu(x);
    case ActivationKind::gelu_tanh:
      return at::gelu(x, "tanh");
    case ActivationKind::silu:
      return at::silu(x);
    case ActivationKind::mish:
      return at::mish(x);
    case ActivationKind::softplus:
      return at::softplus(x, p[0], p[1]);
    case ActivationKind::softsign:
      return x / (x.abs() + 1);
    case ActivationKind::tanh:
      return at::tanh(x);
    case ActivationKind::sigmoid:
      return at::sigmoid(x);
    case ActivationKind::logsigmoid:
      return at::log_sigmoid(x);
    case ActivationKind::hardswish:
      return at::hardswish(x);
    case ActivationKind::hardsigmoid:
      return at::hardsigmoid(x);
    case ActivationKind::hardtanh:
      return at::hardtanh(x, p[0], p[1]);
    case ActivationKind::tanhshrink:
      return x - at::tanh(x);
    case ActivationKind::softshrink:
      return at::softshrink(x, p[0]);
    case ActivationKind::relu2:
      return at::square(at::relu(x));
    case ActivationKind::identity:
      return x;
  }
  TORCH_CHECK(false, "anact: activation ", static_cast<int>(activation.kind), " has no plain version");
}

at::Tensor derivative(const Activation& activation, const at::Tensor& x) {
  const auto& p = activation.parameters;
  switch (activation.kind) {
    case ActivationKind::relu:
      return indicator(x > 0, x);
    case ActivationKind::relu6:
      return indicator((x > 0).logical_and(x < 6), x);
    case ActivationKind::leaky_relu:
      return at::where(x > 0, at::ones({}, x.options()), at::full({}, p[0], x.options()));
    case ActivationKind::elu:
      return exponential_below(x, p[0], 1, 1);
    case ActivationKind::selu:
      return exponential_below(x, kSeluScale * kSeluAlpha, 1, kSeluScale);
    case ActivationKind::celu:
      return exponential_below(x, 1, p[0], 1);
    case ActivationKind::gelu: {
      const double density = 0.5 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
      return at::erfc(x * (-0.5 * std::numbers::sqrt2)) * 0.5 + x * at::exp(x * x * -0.5) * density;
    }
    case ActivationKind::gelu_tanh: {
      const auto t = at::tanh((x + x * x * x * kGeluKappa) * kGeluBeta);
      return (t + 1) * 0.5 + x * (1 - t * t) * (1 + x * x * (3 * kGeluKappa)) * (0.5 * kGeluBeta);
    }
    case ActivationKind::silu:
      return at::sigmoid(x) * (1 + x * at::sigmoid(-x));
    case ActivationKind::mish: {
      const auto t = at::tanh(at::softplus(x));
      return t + x * (1 - t * t) * at::sigmoid(x);
    }
    case ActivationKind::softplus:
      return at::where(x * p[0] > p[1], 1.0, at::sigmoid(x * p[0]));
    case ActivationKind::softsign:
      return at::square(1 / (x.abs() + 1));
    case ActivationKind::tanh:
      return 1 - at::square(at::tanh(x));
    case ActivationKind::sigmoid:
      return at::sigmoid(x) * at::sigmoid(-x);
    case ActivationKind::logsigmoid:
      return at::sigmoid(-x);
    case ActivationKind::hardswish:
      return at::where(x >= 3, 1.0, at::where(x <= -3, 0.0, x / 3 + 0.5));
    case ActivationKind::hardsigmoid:
      return indicator((x > -3).logical_and(x < 3), x) / 6;
    case ActivationKind::hardtanh:
      return indicator((x > p[0]).logical_and(x < p[1]), x);
    case ActivationKind::tanhshrink:
      return at::square(at::tanh(x));
    case ActivationKind::softshrink:
      return indicator((x < -p[0]).logical_or(x > p[0]), x);
    case ActivationKind::relu2:
      return at::relu(x) * 2;
    case ActivationKind::identity:
      return at::ones_like(x);
  }
  TORCH_CHECK(false, "anact: activation ", static_cast<int>(activation.kind), " has no plain derivative");
}

Functions to_functions(const Activation& activation) {
  return {[activation](const at::Tensor& x) { return value(activation, x); },
          [activation](const at::Tensor& x) { return derivative(activation, x); }};
}

Functions to_functions(const CustomActivation& activation) {
  validate(activation);
  const auto checked = [&](const char* what, const CustomActivation::Function& function) {
    return [what, function, name = activation.name](const at::Tensor& x) {
      const auto result = function(x);
      TORCH_CHECK_VALUE(result.defined(), "anact: the ", what, " of \"", name, "\" returned an undefined tensor");
      TORCH_CHECK_VALUE(result.sizes() == x.sizes(), "anact: the ", what, " of \"", name, "\" returned shape ",
                        result.sizes(), " for an argument of shape ", x.sizes(), "; the two must be the same");
      return result.to(x.scalar_type());
    };
  };
  return {checked("value", activation.value), checked("derivative", activation.derivative)};
}

}  // namespace anact::ops::fallback

namespace anact {

void validate(const CustomActivation& activation) {
  if (activation.name.empty()) throw std::invalid_argument("a custom activation has no name");
  for (const auto& [what, function] :
       {std::pair("value", &activation.value), std::pair("derivative", &activation.derivative)}) {
    if (!*function) {
      throw std::invalid_argument("the " + std::string(what) + " of the custom activation \"" + activation.name +
                                  "\" is not set");
    }
  }
}

}  // namespace anact
