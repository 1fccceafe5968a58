#include "anact/activation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <stdexcept>
#include <utility>

#include "math/double_double.h"
#include "math/names.h"
#include "text/words.h"

namespace anact {
namespace {

using detail::DoubleDouble;

// ---- The catalogue ------------------------------------------------------------------------------------------------

constexpr std::array<std::string_view, 1> kSiluAliases{"swish"};
constexpr std::array<std::string_view, 1> kRelu2Aliases{"squared_relu"};
constexpr std::array<std::string_view, 1> kIdentityAliases{"linear"};

constexpr std::array<ActivationParameter, 1> kLeakyReluParameters{{{"negative_slope", 0.01}}};
constexpr std::array<ActivationParameter, 1> kAlphaParameters{{{"alpha", 1}}};
constexpr std::array<ActivationParameter, 2> kSoftplusParameters{{{"beta", 1}, {"threshold", 20}}};
constexpr std::array<ActivationParameter, 2> kHardtanhParameters{{{"min_val", -1}, {"max_val", 1}}};
constexpr std::array<ActivationParameter, 1> kSoftshrinkParameters{{{"lambd", 0.5}}};

// elu, celu and softsign have a continuous first derivative but not a second; softplus jumps where PyTorch switches to
// the identity.
constexpr std::array<ActivationInfo, 22> kCatalogue{{
    {ActivationKind::relu, "relu", {}, {}, false},
    {ActivationKind::relu6, "relu6", {}, {}, false},
    {ActivationKind::leaky_relu, "leaky_relu", {}, kLeakyReluParameters, false},
    {ActivationKind::elu, "elu", {}, kAlphaParameters, false},
    {ActivationKind::selu, "selu", {}, {}, false},
    {ActivationKind::celu, "celu", {}, kAlphaParameters, false},
    {ActivationKind::gelu, "gelu", {}, {}, true},
    {ActivationKind::gelu_tanh, "gelu_tanh", {}, {}, true},
    {ActivationKind::silu, "silu", kSiluAliases, {}, true},
    {ActivationKind::mish, "mish", {}, {}, true},
    {ActivationKind::softplus, "softplus", {}, kSoftplusParameters, false},
    {ActivationKind::softsign, "softsign", {}, {}, false},
    {ActivationKind::tanh, "tanh", {}, {}, true},
    {ActivationKind::sigmoid, "sigmoid", {}, {}, true},
    {ActivationKind::logsigmoid, "logsigmoid", {}, {}, true},
    {ActivationKind::hardswish, "hardswish", {}, {}, false},
    {ActivationKind::hardsigmoid, "hardsigmoid", {}, {}, false},
    {ActivationKind::hardtanh, "hardtanh", {}, kHardtanhParameters, false},
    {ActivationKind::tanhshrink, "tanhshrink", {}, {}, true},
    {ActivationKind::softshrink, "softshrink", {}, kSoftshrinkParameters, false},
    {ActivationKind::relu2, "relu2", kRelu2Aliases, {}, false},
    {ActivationKind::identity, "identity", kIdentityAliases, {}, true},
}};

constexpr bool catalogue_is_in_order() {
  for (std::size_t i = 0; i < kCatalogue.size(); ++i) {
    if (static_cast<std::size_t>(kCatalogue[i].kind) != i) return false;
    if (kCatalogue[i].parameters.size() > kMaxActivationParameters) return false;
  }
  return kCatalogue.back().kind == ActivationKind::identity;
}
static_assert(catalogue_is_in_order());

// ---- Scalar building blocks ---------------------------------------------------------------------------------------

constexpr double kSeluScale = 1.0507009873554804934193349852946;
constexpr double kSeluNegative = 1.7580993408473768599402175208123;  // scale * alpha
constexpr double kInvSqrt2Pi = 0.39894228040143267793994605993438;
constexpr double kTwoOverSqrtPi = std::numbers::inv_sqrtpi * 2;
constexpr DoubleDouble kInvSqrt2{0x1.6a09e667f3bcdp-1, -0x1.bdd3413b26456p-55};

// x exp(x) is below half the least subnormal from here on.
constexpr double kVanishing = -800;
// exp(x) is at most 4.3e-18 from here on: 1 + exp(x) is 1.
constexpr double kNegligible = -40;

// factor * exp(x + residual), for |residual| << 1. Correct also where exp(x) alone would be subnormal.
double scaled_exp(double factor, double x, double residual = 0) {
  if (x < -700) {
    const double root = std::exp(0.5 * x);
    return (factor * root) * (root * (1 + residual));
  }
  return factor * (std::exp(x) * (1 + residual));
}

double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const double e = std::exp(x);
  return e / (1 + e);
}

// sigmoid'(x), even in x.
double sigmoid_slope(double x) {
  const double e = std::exp(-std::abs(x));
  return e / ((1 + e) * (1 + e));
}

// tanh'(x) = 1 / cosh^2(x).
double tanh_slope(double x) {
  const double z = -2 * std::abs(x);
  const double e = std::exp(z);
  return scaled_exp(4 / ((1 + e) * (1 + e)), z);
}

// The rounding error of the product a * b, 0 where the product overflows.
double product_error(double a, double b, double product) {
  return std::isfinite(product) ? std::fma(a, b, -product) : 0;
}

double logsigmoid(double x) { return x > 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x)); }

// factor times the standard normal density at x, whose square is rounded nowhere.
double scaled_density(double factor, double x) {
  if (std::abs(x) > 45) return 0;
  const DoubleDouble square = detail::two_product(x, x);
  return scaled_exp(factor * kInvSqrt2Pi, -0.5 * square.hi, -0.5 * square.lo);
}

// From this far out the asymptotic series of Mills' ratio is exact to double precision, and Phi nears the subnormals.
constexpr double kMillsTail = -37;

// Phi(x) / phi(x) for x <= kMillsTail.
double mills_ratio(double x) {
  const double y = 1 / (x * x);
  double series = 1;
  for (int k = 17; k >= 1; k -= 2) series = 1 - k * y * series;
  return -series / x;
}

// Phi(x), the standard normal distribution function, for x > kMillsTail.
double normal_cdf(double x) {
  const DoubleDouble t = detail::multiply(kInvSqrt2, -x);
  // erfc is steep in its tail: the part of the argument that one double cannot hold is put back to first order.
  return 0.5 * (std::erfc(t.hi) - t.lo * kTwoOverSqrtPi * std::exp(-t.hi * t.hi));
}

double gelu(double x) {
  if (x < kVanishing) return -0.0;
  if (x > -kVanishing) return x;
  if (x <= kMillsTail) return scaled_density(x * mills_ratio(x), x);
  return x * normal_cdf(x);
}

double gelu_slope(double x) {
  if (x < kVanishing) return -0.0;
  if (x > -kVanishing) return 1;
  if (x <= kMillsTail) return scaled_density(x + mills_ratio(x), x);
  return normal_cdf(x) + scaled_density(x, x);
}

// gelu with tanh is x sigmoid(w(x)), w(x) = 2 sqrt(2/pi) (x + 0.044715 x^3).
constexpr DoubleDouble kGeluTanhRate{0x1.9884533d43651p+0, -0x1.cbc0d30ebfd15p-54};  // 2 sqrt(2/pi)
constexpr DoubleDouble kGeluTanhCubic{0x1.6e4e26d4801f7p-5, 0x1.441355475a31ap-59};  // 0.044715
// |w| > 1000 from here on.
constexpr double kGeluTanhTail = 25;

DoubleDouble gelu_tanh_argument(double x) {
  const DoubleDouble cubic = detail::add(detail::multiply(kGeluTanhCubic, detail::two_product(x, x)), 1);
  return detail::multiply(detail::multiply(cubic, kGeluTanhRate), x);
}

double gelu_tanh(double x) {
  if (x < -kGeluTanhTail) return -0.0;
  if (x > kGeluTanhTail) return x;
  const DoubleDouble w = gelu_tanh_argument(x);
  const double e = std::exp(-std::abs(w.hi));
  return x >= 0 ? x / (1 + e) : scaled_exp(x / (1 + e), w.hi, w.lo);
}

double gelu_tanh_slope(double x) {
  if (x < -kGeluTanhTail) return -0.0;
  if (x > kGeluTanhTail) return 1;
  const DoubleDouble w = gelu_tanh_argument(x);
  const double w_slope = kGeluTanhRate.hi * (1 + 3 * kGeluTanhCubic.hi * x * x);
  const double e = std::exp(-std::abs(w.hi));
  if (x >= 0) return (1 + x * w_slope * e / (1 + e)) / (1 + e);
  return scaled_exp((1 + x * w_slope / (1 + e)) / (1 + e), w.hi, w.lo);
}

double silu(double x) {
  if (x < kVanishing) return -0.0;
  const double e = std::exp(-std::abs(x));
  return x >= 0 ? x / (1 + e) : scaled_exp(x / (1 + e), x);
}

double silu_slope(double x) {
  if (x < kVanishing) return -0.0;
  if (x > -kVanishing) return 1;
  const double e = std::exp(-std::abs(x));
  const double square = (1 + e) * (1 + e);
  return x >= 0 ? (1 + e + x * e) / square : scaled_exp(((1 + x) + e) / square, x);
}

// tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2); for x > 0 numerator and denominator are divided by e^2x.
double mish(double x) {
  if (x < kVanishing) return -0.0;
  if (x < kNegligible) return scaled_exp(x, x);
  const double e = std::exp(-std::abs(x));
  if (x > 0) return x * ((1 + 2 * e) / (1 + 2 * e * (1 + e)));
  return x * (e * (e + 2) / (e * (e + 2) + 2));
}

double mish_slope(double x) {
  if (x < kVanishing) return -0.0;
  if (x > -kVanishing) return 1;
  if (x < kNegligible) return scaled_exp(1 + x, x);
  const double e = std::exp(-std::abs(x));
  if (x > 0) {
    const double denominator = 1 + 2 * e * (1 + e);
    return (1 + 2 * e) / denominator + 4 * x * e * e * (1 + e) / (denominator * denominator);
  }
  const double denominator = e * (e + 2) + 2;
  return e * ((e + 2) * denominator + 4 * x * (1 + e)) / (denominator * denominator);
}

double softplus(double x, double beta, double threshold) {
  const double z = x * beta;
  if (z > threshold) return x;
  if (z > 0) return x + std::log1p(std::exp(-z)) / beta;
  const double residual = product_error(x, beta, z);
  if (z < kNegligible) return scaled_exp(1 / beta, z, residual);
  return std::log1p(scaled_exp(1, z, residual)) / beta;
}

double softplus_slope(double x, double beta, double threshold) {
  const double z = x * beta;
  if (z > threshold) return 1;
  if (z >= 0) return 1 / (1 + std::exp(-z));
  return scaled_exp(1 / (1 + std::exp(z)), z, product_error(x, beta, z));
}

// The remainder x - quotient * alpha of quotient = x / alpha, 0 where the quotient overflows.
double quotient_error(double x, double alpha, double quotient) {
  return std::isfinite(quotient) ? std::fma(-quotient, alpha, x) : 0;
}

double celu(double x, double alpha) {
  if (x > 0) return x;
  const double quotient = x / alpha;
  const double e = std::exp(quotient);
  if (std::isinf(e)) return alpha * e;  // alpha < 0
  return alpha * std::expm1(quotient) + quotient_error(x, alpha, quotient) * e;
}

double celu_slope(double x, double alpha) {
  if (x > 0) return 1;
  const double quotient = x / alpha;
  return scaled_exp(1, quotient, quotient_error(x, alpha, quotient) / alpha);
}

// x - tanh(x) = (x cosh(x) - sinh(x)) / cosh(x); the numerator's series, sum of 2k x^(2k+1) / (2k+1)!, has no
// cancellation.
double tanhshrink(double x) {
  if (std::abs(x) > 2) return x - std::tanh(x);
  const double square = x * x;
  double series = 0;
  // The series of the numerator over x^3 / 3, by Horner's rule on the ratios of neighbouring terms.
  for (int k = 14; k >= 1; --k) series = 1 + series * square / (2 * k * (2 * k + 3));
  return x * square * series / (3 * std::cosh(x));
}

// ---- Reading and writing ------------------------------------------------------------------------------------------

constexpr std::string_view kBlanks = " \t\r\n\f\v";

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::string quote(std::string_view text) { return '"' + std::string(text) + '"'; }

std::vector<std::string_view> known_names(bool with_aliases) {
  std::vector<std::string_view> names;
  for (const ActivationInfo& info : kCatalogue) {
    names.push_back(info.name);
    if (with_aliases) names.insert(names.end(), info.aliases.begin(), info.aliases.end());
  }
  return names;
}

const ActivationInfo* find_info(std::string_view name) {
  for (const ActivationInfo& info : kCatalogue) {
    if (info.name == name || std::ranges::find(info.aliases, name) != info.aliases.end()) return &info;
  }
  return nullptr;
}

[[noreturn]] void fail(std::string_view text, const std::string& what) {
  throw std::invalid_argument("activation " + quote(text) + ": " + what);
}

struct Argument {
  std::string_view name;  // empty when given by position
  std::string_view value;
};

std::vector<Argument> split_arguments(std::string_view text, std::string_view list) {
  std::vector<Argument> arguments;
  if (trim(list).empty()) return arguments;
  for (;;) {
    const std::size_t comma = list.find(',');
    const std::string_view item = trim(list.substr(0, comma));
    const std::size_t equals = item.find('=');
    Argument argument;
    if (equals == std::string_view::npos) {
      argument.value = item;
      if (!arguments.empty() && !arguments.back().name.empty() && !item.empty()) {
        fail(text, quote(item) + " is given by position after a parameter given by name; expected name=" + quote(item));
      }
    } else {
      argument = {trim(item.substr(0, equals)), trim(item.substr(equals + 1))};
      if (argument.name.empty()) fail(text, "expected a parameter's name before '=' in " + quote(item));
    }
    if (argument.value.empty()) {
      fail(text, item.empty() ? "argument " + std::to_string(arguments.size() + 1) + " is empty; expected a value"
                              : "expected a value after '=' in " + quote(item));
    }
    arguments.push_back(argument);
    if (comma == std::string_view::npos) return arguments;
    list.remove_prefix(comma + 1);
  }
}

double parse_number(std::string_view text, std::string_view parameter, std::string_view value) {
  std::string_view digits = value;
  if (digits.size() > 1 && digits.front() == '+' && digits[1] != '-') digits.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool complete = end == digits.data() + digits.size();
  if (error == std::errc::result_out_of_range && complete) {
    fail(text, std::string(parameter) + " = " + std::string(value) + " is out of the range of a double");
  }
  if (error != std::errc{} || !complete) {
    fail(text, std::string(parameter) + " = " + quote(value) + " is not a number");
  }
  if (!std::isfinite(number)) {
    fail(text, std::string(parameter) + " = " + std::string(value) + " is not finite; expected a finite number");
  }
  return number;
}

// The index in `names` that each argument is for.
std::vector<std::size_t> match_arguments(std::string_view text, std::string_view activation,
                                         std::span<const std::string_view> names, std::span<const Argument> arguments) {
  std::vector<std::size_t> indices;
  for (const Argument& argument : arguments) {
    std::size_t index = indices.size();
    if (argument.name.empty()) {
      if (index >= names.size()) {
        fail(text, std::string(activation) + (names.empty() ? " takes no parameters"
                                                            : " takes at most " + std::to_string(names.size()) + " (" +
                                                                  text::join(names, ", ") + "), but " +
                                                                  std::to_string(arguments.size()) + " were given"));
      }
    } else {
      index = static_cast<std::size_t>(std::ranges::find(names, argument.name) - names.begin());
      if (index == names.size()) {
        fail(text, std::string(activation) + " has no parameter " + quote(argument.name) +
                       (names.empty() ? "; it takes none" : "; expected " + text::join(names, " or ")));
      }
    }
    if (std::ranges::find(indices, index) != indices.end()) {
      fail(text, "the parameter " + quote(names[index]) + " is given twice");
    }
    indices.push_back(index);
  }
  return indices;
}

void check_parameters(std::string_view text, const Activation& activation) {
  const auto& [first, second] = activation.parameters;
  switch (activation.kind) {
    case ActivationKind::celu:
      if (first == 0) fail(text, "alpha is 0; expected a number other than 0");
      break;
    case ActivationKind::softplus:
      if (first == 0) fail(text, "beta is 0; expected a number other than 0");
      break;
    case ActivationKind::hardtanh:
      if (!(first < second)) {
        fail(text, "min_val = " + text::shortest(first) + " is not less than max_val = " + text::shortest(second));
      }
      break;
    case ActivationKind::softshrink:
      if (first < 0) fail(text, "lambd = " + text::shortest(first) + " is negative; expected at least 0");
      break;
    default:
      break;
  }
}

Activation parse_gelu(std::string_view text, std::span<const Argument> arguments) {
  static constexpr std::array<std::string_view, 1> kNames{"approximate"};
  match_arguments(text, "gelu", kNames, arguments);
  if (arguments.empty()) return make_activation(ActivationKind::gelu);
  std::string_view value = arguments.front().value;
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) {
    value = value.substr(1, value.size() - 2);
  }
  if (value == "none") return make_activation(ActivationKind::gelu);
  if (value == "tanh") return make_activation(ActivationKind::gelu_tanh);
  fail(text, "approximate = " + quote(value) + " is unknown; expected none or tanh");
}

// ---- Edit distance ------------------------------------------------------------------------------------------------

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// Damerau-Levenshtein distance (optimal string alignment): insertions, deletions, substitutions and swaps of
// neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitution = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

}  // namespace

// ---- Activation ---------------------------------------------------------------------------------------------------

double Activation::value(double x) const {
  if (std::isnan(x)) return x;
  const auto& [first, second] = parameters;
  switch (kind) {
    case ActivationKind::relu:
      return x < 0 ? 0 : x;
    case ActivationKind::relu6:
      return std::clamp(x, 0.0, 6.0);
    case ActivationKind::leaky_relu:
      return x > 0 ? x : first * x;
    case ActivationKind::elu:
      return x > 0 ? x : first * std::expm1(x);
    case ActivationKind::selu:
      return x > 0 ? kSeluScale * x : kSeluNegative * std::expm1(x);
    case ActivationKind::celu:
      return celu(x, first);
    case ActivationKind::gelu:
      return gelu(x);
    case ActivationKind::gelu_tanh:
      return gelu_tanh(x);
    case ActivationKind::silu:
      return silu(x);
    case ActivationKind::mish:
      return mish(x);
    case ActivationKind::softplus:
      return softplus(x, first, second);
    case ActivationKind::softsign:
      return std::isinf(x) ? std::copysign(1, x) : x / (1 + std::abs(x));
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::logsigmoid:
      return logsigmoid(x);
    case ActivationKind::hardswish:
      if (x <= -3) return -0.0;
      return x >= 3 ? x : x * (x + 3) / 6;
    case ActivationKind::hardsigmoid:
      return std::clamp((x + 3) / 6, 0.0, 1.0);
    case ActivationKind::hardtanh:
      return std::clamp(x, first, second);
    case ActivationKind::tanhshrink:
      return tanhshrink(x);
    case ActivationKind::softshrink:
      if (x > first) return x - first;
      return x < -first ? x + first : 0;
    case ActivationKind::relu2:
      return x > 0 ? x * x : 0;
    case ActivationKind::identity:
      return x;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

double Activation::derivative(double x) const {
  if (std::isnan(x)) return x;
  const auto& [first, second] = parameters;
  switch (kind) {
    case ActivationKind::relu:
      return x > 0 ? 1 : 0;
    case ActivationKind::relu6:
      return x > 0 && x < 6 ? 1 : 0;
    case ActivationKind::leaky_relu:
      return x > 0 ? 1 : first;
    case ActivationKind::elu:
      return x > 0 ? 1 : scaled_exp(first, x);
    case ActivationKind::selu:
      return x > 0 ? kSeluScale : scaled_exp(kSeluNegative, x);
    case ActivationKind::celu:
      return celu_slope(x, first);
    case ActivationKind::gelu:
      return gelu_slope(x);
    case ActivationKind::gelu_tanh:
      return gelu_tanh_slope(x);
    case ActivationKind::silu:
      return silu_slope(x);
    case ActivationKind::mish:
      return mish_slope(x);
    case ActivationKind::softplus:
      return softplus_slope(x, first, second);
    case ActivationKind::softsign: {
      const double root = 1 / (1 + std::abs(x));
      return root * root;
    }
    case ActivationKind::tanh:
      return tanh_slope(x);
    case ActivationKind::sigmoid:
      return sigmoid_slope(x);
    case ActivationKind::logsigmoid:
      return sigmoid(-x);
    case ActivationKind::hardswish:
      if (x <= -3) return 0;
      return x >= 3 ? 1 : (2 * x + 3) / 6;
    case ActivationKind::hardsigmoid:
      return x > -3 && x < 3 ? 1.0 / 6 : 0;
    case ActivationKind::hardtanh:
      return x > first && x < second ? 1 : 0;
    case ActivationKind::tanhshrink: {
      const double t = std::tanh(x);
      return t * t;
    }
    case ActivationKind::softshrink:
      return x > first || x < -first ? 1 : 0;
    case ActivationKind::relu2:
      return x > 0 ? 2 * x : 0;
    case ActivationKind::identity:
      return 1;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> Activation::kinks() const {
  const auto& [first, second] = parameters;
  switch (kind) {
    case ActivationKind::relu:
    case ActivationKind::leaky_relu:
    case ActivationKind::elu:
    case ActivationKind::selu:
    case ActivationKind::celu:
    case ActivationKind::softsign:
    case ActivationKind::relu2:
      return {0};
    case ActivationKind::relu6:
      return {0, 6};
    case ActivationKind::softplus:
      return {second / first};
    case ActivationKind::hardswish:
    case ActivationKind::hardsigmoid:
      return {-3, 3};
    case ActivationKind::hardtanh:
      return {first, second};
    case ActivationKind::softshrink:
      if (first == 0) return {0};
      return {-first, first};
    case ActivationKind::gelu:
    case ActivationKind::gelu_tanh:
    case ActivationKind::silu:
    case ActivationKind::mish:
    case ActivationKind::tanh:
    case ActivationKind::sigmoid:
    case ActivationKind::logsigmoid:
    case ActivationKind::tanhshrink:
    case ActivationKind::identity:
      break;
  }
  return {};
}

std::string Activation::to_string() const {
  if (kind == ActivationKind::gelu_tanh) return "gelu(approximate=tanh)";
  const ActivationInfo& info = activation_info(kind);
  std::vector<std::string> arguments;
  for (std::size_t i = 0; i < info.parameters.size(); ++i) {
    if (parameters[i] != info.parameters[i].default_value) {
      arguments.push_back(std::string(info.parameters[i].name) + '=' + text::shortest(parameters[i]));
    }
  }
  std::string text(info.name);
  if (!arguments.empty()) text += '(' + text::join(arguments, ", ") + ')';
  return text;
}

std::span<const ActivationInfo> activation_catalogue() { return kCatalogue; }

const ActivationInfo& activation_info(ActivationKind kind) {
  const auto index = static_cast<std::size_t>(kind);
  if (index >= kCatalogue.size()) {
    throw std::invalid_argument("activation kind " + std::to_string(index) + " is unknown; expected less than " +
                                std::to_string(kCatalogue.size()));
  }
  return kCatalogue[index];
}

Activation make_activation(ActivationKind kind) {
  Activation activation{kind, {}};
  std::ranges::transform(activation_info(kind).parameters, activation.parameters.begin(),
                         &ActivationParameter::default_value);
  return activation;
}

Activation parse_activation(std::string_view text) {
  const std::string_view body = trim(text);
  const std::size_t open = body.find('(');
  const std::string_view name = trim(body.substr(0, open));
  if (name.empty()) fail(text, "the name is missing; expected one of " + text::join(known_names(false), ", "));
  const ActivationInfo* info = find_info(name);
  if (info == nullptr) {
    const std::string nearest = did_you_mean(name, known_names(true), 3, " or ");
    fail(text, "unknown name " + quote(name) +
                   (nearest.empty() ? "; expected one of " + text::join(known_names(false), ", ") : nearest + "?"));
  }
  std::vector<Argument> arguments;
  if (open != std::string_view::npos) {
    const std::string_view rest = body.substr(open + 1);
    const std::size_t close = rest.find_first_of("()");
    if (close == std::string_view::npos) fail(text, "expected ')' at the end");
    if (rest[close] == '(') fail(text, "unexpected second '('");
    if (close + 1 != rest.size()) fail(text, "unexpected " + quote(trim(rest.substr(close + 1))) + " after ')'");
    arguments = split_arguments(text, rest.substr(0, close));
  }
  if (info->kind == ActivationKind::gelu) return parse_gelu(text, arguments);

  std::vector<std::string_view> names;
  for (const ActivationParameter& parameter : info->parameters) names.push_back(parameter.name);
  const std::vector<std::size_t> indices = match_arguments(text, info->name, names, arguments);
  Activation activation = make_activation(info->kind);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    activation.parameters[indices[i]] = parse_number(text, names[indices[i]], arguments[i].value);
  }
  check_parameters(text, activation);
  return activation;
}

std::vector<std::string> nearest_names(std::string_view text, std::span<const std::string_view> candidates,
                                       std::size_t count) {
  const std::string wanted = to_lower(trim(text));
  const std::size_t limit = std::max<std::size_t>(1, wanted.size() / 3);
  struct Match {
    std::size_t rank;  // 0 for a beginning, else the distance
    std::size_t distance;
    std::string_view name;
  };
  std::vector<Match> matches;
  for (const std::string_view candidate : candidates) {
    const std::string lower = to_lower(candidate);
    const std::size_t distance = edit_distance(wanted, lower);
    const bool begins = !wanted.empty() && lower.starts_with(wanted);
    if (begins || distance <= limit) matches.push_back({begins ? 0 : distance, distance, candidate});
  }
  std::ranges::stable_sort(matches, [](const Match& a, const Match& b) {
    return std::pair(a.rank, a.distance) < std::pair(b.rank, b.distance);
  });
  std::vector<std::string> names;
  for (const Match& match : matches) {
    if (names.size() == count) break;
    names.emplace_back(match.name);
  }
  return names;
}

}  // namespace anact
