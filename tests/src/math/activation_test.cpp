#include "anact/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace anact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kDenormal = std::numeric_limits<double>::denorm_min();

// The defaults of the whole catalogue, and one other setting of each activation that has parameters.
std::vector<Activation> activations_under_test() {
  std::vector<Activation> activations;
  for (const ActivationInfo& info : activation_catalogue()) activations.push_back(make_activation(info.kind));
  for (const char* text :
       {"leaky_relu(-0.3)", "elu(1.7)", "celu(0.3)", "celu(-2)", "softplus(0.7, 50)", "softplus(-1.5)",
        "softplus(4, 1)", "hardtanh(-2, 0.25)", "softshrink(2)", "softshrink(0)"}) {
    activations.push_back(parse_activation(text));
  }
  return activations;
}

bool is_near_a_kink(const Activation& activation, double x, double distance) {
  return std::ranges::any_of(activation.kinks(), [&](double kink) { return std::abs(x - kink) <= distance; });
}

// The limit of central differences by two steps of Richardson's extrapolation.
double differentiate(const Activation& activation, double x, double h) {
  const auto central = [&](double step) {
    return (activation.value(x + step) - activation.value(x - step)) / (2 * step);
  };
  const double a = central(h), b = central(h / 2), c = central(h / 4);
  const double ab = (4 * b - a) / 3, bc = (4 * c - b) / 3;
  return (16 * bc - ab) / 15;
}

std::string error_of(std::string_view text) {
  try {
    (void)parse_activation(text);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

// ---- Value and derivative
// ---------------------------------------------------------------------------------------------

TEST(Activation, DerivativeIsThatOfTheValue) {
  const double h = 0.02;
  for (const Activation& activation : activations_under_test()) {
    int checked = 0;
    for (double x = -12.03; x < 12; x += 0.0371) {
      if (is_near_a_kink(activation, x, h)) continue;
      const double expected = differentiate(activation, x, h);
      const double scale = 1 + std::abs(expected) + std::abs(activation.value(x));
      EXPECT_NEAR(activation.derivative(x), expected, 2e-10 * scale) << activation.to_string() << " at " << x;
      ++checked;
    }
    EXPECT_GT(checked, 600) << activation.to_string();
  }
}

// On a far tail only the relative error tells a wrong derivative from a right one.
TEST(Activation, DerivativeIsThatOfTheValueInTheTails) {
  for (const char* text : {"elu", "selu", "celu(0.5)", "gelu", "gelu_tanh", "silu", "mish", "softplus", "sigmoid"}) {
    const Activation activation = parse_activation(text);
    for (const double x : {-4.5, -6.0, -8.0}) {
      const double slope = activation.derivative(x);
      // elu and its kind saturate at a number that swamps the difference.
      const double floor = std::abs(activation.value(x)) > 0.1 ? 1e-11 : 0;
      EXPECT_NEAR(differentiate(activation, x, 0.01), slope, 1e-8 * std::abs(slope) + floor) << text << " at " << x;
    }
  }
}

TEST(Activation, KinksAreWhereTheDerivativeOrItsSlopeJumps) {
  for (const ActivationInfo& info : activation_catalogue()) {
    const Activation activation = make_activation(info.kind);
    const std::vector<double> kinks = activation.kinks();
    EXPECT_EQ(info.smooth, kinks.empty()) << info.name;
    EXPECT_TRUE(std::ranges::is_sorted(kinks));
    EXPECT_TRUE(std::ranges::adjacent_find(kinks) == kinks.end());
    // Anywhere else, one step moves f' by what f'' explains.
    const double h = 1e-6;
    for (double x = -12.5; x <= 30; x += 0.5) {
      if (is_near_a_kink(activation, x, 1e-9)) continue;
      EXPECT_NEAR(activation.derivative(x + h), activation.derivative(x - h), 5 * h) << info.name << " at " << x;
      const double bend =
          (activation.derivative(x + 1e-4) - 2 * activation.derivative(x) + activation.derivative(x - 1e-4)) / 1e-4;
      EXPECT_NEAR(bend, 0, 1e-3) << info.name << " at " << x;
    }
  }
  EXPECT_EQ(parse_activation("hardtanh(-2, 0.25)").kinks(), (std::vector<double>{-2, 0.25}));
  EXPECT_EQ(parse_activation("softshrink(0)").kinks(), (std::vector<double>{0}));
  EXPECT_EQ(parse_activation("softplus(-2, 10)").kinks(), (std::vector<double>{-5}));
}

// PyTorch 2.13's value and derivative at the kinks, from torch.autograd.grad in float64 on a CPU.
TEST(Activation, DerivativeAtAKinkIsPyTorchs) {
  struct Case {
    const char* activation;
    double x, value, derivative;
  };
  const std::vector<Case> cases{
      {"relu", 0, 0, 0},
      {"relu6", 0, 0, 0},
      {"relu6", 6, 6, 0},
      {"leaky_relu", 0, 0, 0.01},
      {"leaky_relu(-0.3)", 0, 0, -0.3},
      {"elu", 0, 0, 1},
      {"elu(0.5)", 0, 0, 0.5},
      {"elu(3)", -0.0, 0, 3},
      {"selu", 0, 0, 1.7580993408473766},
      {"celu(2)", 0, 0, 1},
      {"softplus", 20, 20.000000002061153, 0.9999999979388464},
      {"softplus", 20.000000000000004, 20.000000000000004, 1},
      {"softsign", 0, 0, 1},
      {"hardswish", -3, 0, 0},
      {"hardswish", 3, 3, 1},
      {"hardsigmoid", -3, 0, 0},
      {"hardsigmoid", 3, 1, 0},
      {"hardtanh", -1, -1, 0},
      {"hardtanh", 1, 1, 0},
      {"softshrink", -0.5, 0, 0},
      {"softshrink", 0.5, 0, 0},
      {"softshrink(0)", 0, 0, 0},
      {"relu2", 0, 0, 0},
  };
  for (const auto& [text, x, value, derivative] : cases) {
    const Activation activation = parse_activation(text);
    EXPECT_EQ(activation.value(x), value) << text << " at " << x;
    EXPECT_DOUBLE_EQ(activation.derivative(x), derivative) << text << " at " << x;
  }
}

// Piecewise definitions a step to either side of each kink, in exact arithmetic.
TEST(Activation, PiecewiseActivationsHaveTheirPieces) {
  struct Case {
    const char* activation;
    double x, value, derivative;
  };
  const std::vector<Case> cases{
      {"relu", -2, 0, 0},
      {"relu", 2, 2, 1},
      {"relu6", -1, 0, 0},
      {"relu6", 5, 5, 1},
      {"relu6", 7, 6, 0},
      {"leaky_relu(0.25)", -2, -0.5, 0.25},
      {"leaky_relu(0.25)", 2, 2, 1},
      {"elu(0.5)", 2, 2, 1},
      {"celu(0.5)", 2, 2, 1},
      {"softplus", 21, 21, 1},
      {"softplus(4, 1)", 0.5, 0.5, 1},
      {"hardswish", -4, 0, 0},
      {"hardswish", -1.5, -0.375, 0},
      {"hardswish", 1.5, 1.125, 1},
      {"hardswish", 4, 4, 1},
      {"hardsigmoid", -4, 0, 0},
      {"hardsigmoid", 1.5, 0.75, 1.0 / 6},
      {"hardsigmoid", 4, 1, 0},
      {"hardtanh", -2, -1, 0},
      {"hardtanh", 0.5, 0.5, 1},
      {"hardtanh", 2, 1, 0},
      {"hardtanh(2, 3)", 0, 2, 0},
      {"softshrink", -2, -1.5, 1},
      {"softshrink", 0.25, 0, 0},
      {"softshrink", 2, 1.5, 1},
      {"relu2", -2, 0, 0},
      {"relu2", 3, 9, 6},
      {"identity", -7, -7, 1},
      {"softsign", -3, -0.75, 0.0625},
  };
  for (const auto& [text, x, value, derivative] : cases) {
    const Activation activation = parse_activation(text);
    EXPECT_EQ(activation.value(x), value) << text << " at " << x;
    EXPECT_DOUBLE_EQ(activation.derivative(x), derivative) << text << " at " << x;
  }
}

// From the definitions in mpmath 1.3 with 200 bits, at x as rounded to double, printed to 22 digits.
TEST(Activation, SmoothActivationsHaveTheirValuesToAFewUlp) {
  struct Case {
    const char* activation;
    double x, value, derivative;
  };
  const std::vector<Case> cases{
      {"elu", -1.5, -0.7768698398515701710667, 0.2231301601484298289333},
      {"elu", -30, -0.9999999999999064237703, 9.357622968840174604916e-14},
      {"selu", -0.75, -0.9276320158350512261881, 0.8304673250123256337522},
      {"selu", 2, 2.101401974710960986839, 1.050700987355480493419},
      {"celu", -0.01, -9.95016625083194663219e-3, 0.9900498337491680533678},
      {"gelu", -0.3, -0.1146265733433142058363, 0.2676722331728901450985},
      {"gelu", 1.25, 1.117937782916430927889, 1.12266158306942212355},
      {"gelu", -10, -7.619853024160526065973e-23, -7.618400096464814085679e-22},
      {"gelu", -37.5, -1.727007378593233066435e-306, -6.476271143055812622972e-305},
      {"gelu_tanh", -0.3, -0.1146290764572407488987, 0.2677045483611981859121},
      {"gelu_tanh", 1.25, 1.117714202969714601822, 1.122492632249648633125},
      {"gelu_tanh", -10, -1.204092348209805993659e-37, -2.75763806385403160733e-36},
      {"silu", -0.3, -0.127667244956502299944, 0.352219989681117257435},
      {"silu", 2.5, 2.310354549946891122017, 1.099401111341526841138},
      {"silu", -40, -1.699341702116635590912e-16, -1.65685815956371969392e-16},
      {"silu", -720, -1.463206177745491070064e-310, -1.461173946943066776911e-310},
      {"mish", -0.3, -0.1511331771383345675508, 0.4085108769357021931008},
      {"mish", 2.5, 2.471392304557881106856, 1.041129530131353188419},
      {"mish", -20, -4.12230724062876140064e-8, -3.916191874348969075317e-8},
      {"mish", -720, -1.463206177745491070064e-310, -1.461173946943066776911e-310},
      {"softplus", -0.3, 0.5543552444685271235392, 0.425557483188341015562},
      {"softplus", 5, 5.006715348489118068616, 0.9933071490757151444406},
      {"softplus", -50, 1.928749847963917783017e-22, 1.928749847963917783017e-22},
      {"softsign", -0.3, -0.2307692307692307626614, 0.5917159763313609568523},
      {"tanh", 0.3, 0.2913126124515908956582, 0.9151369618266292090569},
      {"tanh", -15, -0.9999999999998128475406, 3.743049187535369321105e-13},
      {"sigmoid", 0.3, 0.574442516811658984438, 0.2444583116907458694701},
      {"sigmoid", -40, 4.248354255291588977281e-18, 4.248354255291588959232e-18},
      {"sigmoid", 36, 0.9999999999999997680477, 2.319522830243568312275e-16},
      {"logsigmoid", 0.3, -0.5543552444685271235392, 0.425557483188341015562},
      {"logsigmoid", 50, -1.928749847963917783017e-22, 1.928749847963917783017e-22},
      {"logsigmoid", -50, -50.0, 0.9999999999999999999998},
      {"tanhshrink", 1e-05, 3.333333333200000818036e-16, 9.999999999333334969432e-11},
      {"tanhshrink", 0.3, 8.68738754840909323961e-3, 0.08486303817337079094313},
      {"tanhshrink", -1.5, -0.5948517463551335617577, 0.8192933610763514694026},
      {"tanhshrink", 4, 3.000670700260932956208, 0.99865904931697410312},
  };
  for (const auto& [text, x, value, derivative] : cases) {
    const Activation activation = parse_activation(text);
    const auto ulp = [](double y) { return std::nextafter(std::abs(y), kInfinity) - std::abs(y); };
    EXPECT_NEAR(activation.value(x), value, 4 * ulp(value)) << text << " at " << x;
    EXPECT_NEAR(activation.derivative(x), derivative, 5 * ulp(derivative)) << text << " at " << x;
  }
}

// The nearest double on either side of 0 and of every number where a formula changes gives a neighbouring result.
TEST(Activation, HasNoSeamWhereItsFormulaChanges) {
  for (const ActivationInfo& info : activation_catalogue()) {
    const Activation activation = make_activation(info.kind);
    for (const double x :
         {-800.0, -745.0, -700.0, -45.0, -40.0, -37.0, -25.0, -2.0, -1.0, 0.0, 1.0, 2.0, 25.0, 40.0, 45.0}) {
      if (is_near_a_kink(activation, x, 0)) continue;
      const double below = std::nextafter(x, -kInfinity), above = std::nextafter(x, kInfinity);
      const auto close = [&](double a, double b) {
        // exp(-x^2/2) moves by x^2 ulp from one double to the next.
        const double tolerance = 1e-15 * (5 + x * x) * std::abs(b) + 16 * kDenormal;
        EXPECT_NEAR(a, b, tolerance) << info.name << " at " << x;
      };
      if (x != 0) close(activation.value(below), activation.value(above));
      close(activation.derivative(below), activation.derivative(above));
    }
  }
}

TEST(Activation, OddAndComplementarySymmetriesAreExact) {
  for (const ActivationKind kind : {ActivationKind::tanh, ActivationKind::softsign, ActivationKind::tanhshrink,
                                    ActivationKind::softshrink, ActivationKind::hardtanh, ActivationKind::identity}) {
    const Activation activation = make_activation(kind);
    for (double x = 1e-7; x < 800; x *= 1.37) {
      EXPECT_EQ(activation.value(-x), -activation.value(x));
      EXPECT_EQ(activation.derivative(-x), activation.derivative(x));
    }
  }
  const Activation sigmoid = make_activation(ActivationKind::sigmoid);
  const Activation silu = make_activation(ActivationKind::silu);
  for (double x = 1e-3; x < 30; x *= 1.37) {
    EXPECT_NEAR(sigmoid.value(x) + sigmoid.value(-x), 1, 3e-16);
    EXPECT_EQ(sigmoid.derivative(x), sigmoid.derivative(-x));
    EXPECT_NEAR(silu.value(x) + silu.value(-x), x * (2 * sigmoid.value(x) - 1), 1e-14 * x);
  }
}

TEST(Activation, NaNGivesNaN) {
  for (const Activation& activation : activations_under_test()) {
    EXPECT_TRUE(std::isnan(activation.value(kNaN))) << activation.to_string();
    EXPECT_TRUE(std::isnan(activation.derivative(kNaN))) << activation.to_string();
  }
}

TEST(Activation, IsFiniteForEveryFiniteInputItCanRepresent) {
  for (const ActivationInfo& info : activation_catalogue()) {
    const Activation activation = make_activation(info.kind);
    for (const double size : {0.0, kDenormal, 1e-310, 1e-160, 1e-8, 20.0, 100.0, 709.0, 745.0, 1e4, 1e150, 1e308}) {
      for (const double x : {size, -size}) {
        if (info.kind == ActivationKind::relu2 && x > 1e154) continue;  // x^2 overflows
        EXPECT_TRUE(std::isfinite(activation.value(x))) << info.name << " at " << x;
        EXPECT_TRUE(std::isfinite(activation.derivative(x))) << info.name << " at " << x;
      }
    }
  }
}

TEST(Activation, HasItsLimitsAtInfinity) {
  struct Case {
    const char* activation;
    double left, right;              // values
    double left_slope, right_slope;  // derivatives
  };
  const std::vector<Case> cases{
      {"relu", 0, kInfinity, 0, 1},
      {"relu6", 0, 6, 0, 0},
      {"leaky_relu", -kInfinity, kInfinity, 0.01, 1},
      {"elu", -1, kInfinity, 0, 1},
      {"selu", -1.7580993408473766, kInfinity, 0, 1.0507009873554805},
      {"celu(2)", -2, kInfinity, 0, 1},
      {"gelu", 0, kInfinity, 0, 1},
      {"gelu_tanh", 0, kInfinity, 0, 1},
      {"silu", 0, kInfinity, 0, 1},
      {"mish", 0, kInfinity, 0, 1},
      {"softplus", 0, kInfinity, 0, 1},
      {"softplus(-1)", -kInfinity, 0, 1, 0},
      {"softsign", -1, 1, 0, 0},
      {"tanh", -1, 1, 0, 0},
      {"sigmoid", 0, 1, 0, 0},
      {"logsigmoid", -kInfinity, 0, 1, 0},
      {"hardswish", 0, kInfinity, 0, 1},
      {"hardsigmoid", 0, 1, 0, 0},
      {"hardtanh", -1, 1, 0, 0},
      {"tanhshrink", -kInfinity, kInfinity, 1, 1},
      {"softshrink", -kInfinity, kInfinity, 1, 1},
      {"relu2", 0, kInfinity, 0, kInfinity},
      {"identity", -kInfinity, kInfinity, 1, 1},
  };
  std::set<ActivationKind> covered;
  for (const auto& [text, left, right, left_slope, right_slope] : cases) {
    const Activation activation = parse_activation(text);
    covered.insert(activation.kind);
    EXPECT_DOUBLE_EQ(activation.value(-kInfinity), left) << text;
    EXPECT_EQ(activation.value(kInfinity), right) << text;
    EXPECT_EQ(activation.derivative(-kInfinity), left_slope) << text;
    EXPECT_EQ(activation.derivative(kInfinity), right_slope) << text;
  }
  EXPECT_EQ(covered.size(), activation_catalogue().size()) << "an activation of the catalogue has no row here";
}

TEST(Activation, SoftplusBecomesTheIdentityAboveItsThreshold) {
  const Activation softplus = parse_activation("softplus(2, 3)");
  EXPECT_EQ(softplus.value(std::nextafter(1.5, 2)), std::nextafter(1.5, 2));
  EXPECT_EQ(softplus.derivative(std::nextafter(1.5, 2)), 1);
  EXPECT_NEAR(softplus.value(1.5), 1.5 + 0.5 * std::log1p(std::exp(-3)), 1e-15);
  EXPECT_NEAR(softplus.derivative(1.5), 1 / (1 + std::exp(-3)), 1e-15);
}

// ---- The catalogue
// ------------------------------------------------------------------------------------------------------

TEST(Catalogue, IsInTheOrderOfTheKindsWithUniqueNames) {
  std::set<std::string_view> names;
  std::size_t index = 0;
  for (const ActivationInfo& info : activation_catalogue()) {
    EXPECT_EQ(static_cast<std::size_t>(info.kind), index++);
    EXPECT_EQ(&activation_info(info.kind), &info);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    for (const std::string_view alias : info.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
  }
  EXPECT_EQ(index, static_cast<std::size_t>(ActivationKind::identity) + 1);
  EXPECT_THROW((void)activation_info(static_cast<ActivationKind>(200)), std::invalid_argument);
}

TEST(Catalogue, HasPyTorchsParametersAndDefaults) {
  const auto parameters = [](ActivationKind kind) {
    std::string text;
    for (const ActivationParameter& parameter : activation_info(kind).parameters) {
      text += std::string(parameter.name) + '=' + std::to_string(parameter.default_value) + ' ';
    }
    return text;
  };
  EXPECT_EQ(parameters(ActivationKind::leaky_relu), "negative_slope=0.010000 ");
  EXPECT_EQ(parameters(ActivationKind::elu), "alpha=1.000000 ");
  EXPECT_EQ(parameters(ActivationKind::celu), "alpha=1.000000 ");
  EXPECT_EQ(parameters(ActivationKind::softplus), "beta=1.000000 threshold=20.000000 ");
  EXPECT_EQ(parameters(ActivationKind::hardtanh), "min_val=-1.000000 max_val=1.000000 ");
  EXPECT_EQ(parameters(ActivationKind::softshrink), "lambd=0.500000 ");
  EXPECT_EQ(parameters(ActivationKind::relu), "");
}

// ---- Reading and writing
// --------------------------------------------------------------------------------------------------

TEST(Parse, ReadsBackWhatToStringWrites) {
  for (const Activation& activation : activations_under_test()) {
    EXPECT_EQ(parse_activation(activation.to_string()), activation) << activation.to_string();
  }
  for (const double number : {0.1, 1.0 / 3, 1e-300, -1.2345678901234567e20, kDenormal}) {
    Activation activation = make_activation(ActivationKind::elu);
    activation.parameters[0] = number;
    EXPECT_EQ(parse_activation(activation.to_string()), activation) << activation.to_string();
  }
}

TEST(Parse, ReadsEveryNameAndAlias) {
  for (const ActivationInfo& info : activation_catalogue()) {
    EXPECT_EQ(parse_activation(info.name), make_activation(info.kind));
    EXPECT_EQ(parse_activation(std::string(info.name) + "()"), make_activation(info.kind));
    for (const std::string_view alias : info.aliases) EXPECT_EQ(parse_activation(alias), make_activation(info.kind));
  }
  EXPECT_EQ(parse_activation("swish").kind, ActivationKind::silu);
  EXPECT_EQ(parse_activation("squared_relu").kind, ActivationKind::relu2);
}

TEST(Parse, ReadsParametersByNameAndByPosition) {
  const auto parameters = [](std::string_view text) { return parse_activation(text).parameters; };
  using Parameters = std::array<double, kMaxActivationParameters>;
  EXPECT_EQ(parameters("elu(0.5)"), (Parameters{0.5, 0}));
  EXPECT_EQ(parameters("elu(alpha=0.5)"), (Parameters{0.5, 0}));
  EXPECT_EQ(parameters("hardtanh(-2,2)"), (Parameters{-2, 2}));
  EXPECT_EQ(parameters("hardtanh(max_val=2)"), (Parameters{-1, 2}));
  EXPECT_EQ(parameters("hardtanh(max_val=5, min_val=4)"), (Parameters{4, 5}));
  EXPECT_EQ(parameters("softplus(2, threshold=1e1)"), (Parameters{2, 10}));
  EXPECT_EQ(parameters("softplus(beta=+2)"), (Parameters{2, 20}));
  EXPECT_EQ(parameters(" leaky_relu ( negative_slope\t=\n.25 ) "), (Parameters{0.25, 0}));
}

TEST(Parse, ReadsGelusApproximation) {
  for (const char* text : {"gelu", "gelu()", "gelu(approximate=none)", "gelu(none)", "gelu( approximate = 'none' )"}) {
    EXPECT_EQ(parse_activation(text).kind, ActivationKind::gelu) << text;
  }
  for (const char* text : {"gelu_tanh", "gelu(approximate=tanh)", "gelu(tanh)", "gelu(approximate=\"tanh\")"}) {
    EXPECT_EQ(parse_activation(text).kind, ActivationKind::gelu_tanh) << text;
  }
  EXPECT_EQ(make_activation(ActivationKind::gelu_tanh).to_string(), "gelu(approximate=tanh)");
}

TEST(ToString, NamesOnlyWhatIsNotTheDefault) {
  EXPECT_EQ(parse_activation("swish").to_string(), "silu");
  EXPECT_EQ(parse_activation("elu(1)").to_string(), "elu");
  EXPECT_EQ(parse_activation("elu(0.5)").to_string(), "elu(alpha=0.5)");
  EXPECT_EQ(parse_activation("softplus(1, 30)").to_string(), "softplus(threshold=30)");
  EXPECT_EQ(parse_activation("hardtanh(-2, 2)").to_string(), "hardtanh(min_val=-2, max_val=2)");
  EXPECT_EQ(parse_activation("leaky_relu(0.1)").to_string(), "leaky_relu(negative_slope=0.1)");
}

TEST(Parse, RefusesUnknownNamesWithTheNearest) {
  EXPECT_EQ(error_of("reul"), "activation \"reul\": unknown name \"reul\"; did you mean relu?");
  EXPECT_EQ(error_of("Swich(1)"), "activation \"Swich(1)\": unknown name \"Swich\"; did you mean swish?");
  EXPECT_EQ(error_of("ReLU"), "activation \"ReLU\": unknown name \"ReLU\"; did you mean relu or relu6 or relu2?");
  EXPECT_EQ(error_of("qqqqqq").find(
                "activation \"qqqqqq\": unknown name \"qqqqqq\"; expected one of relu, relu6, leaky_relu"),
            0U);
}

TEST(Parse, RefusesBadTextAndSaysWhy) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"", "the name is missing; expected one of relu"},
      {"  ", "the name is missing"},
      {"(1)", "the name is missing"},
      {"elu(", "expected ')' at the end"},
      {"elu(1", "expected ')' at the end"},
      {"elu((1))", "unexpected second '('"},
      {"elu(1)x", "unexpected \"x\" after ')'"},
      {"elu(1)(2)", "unexpected \"(2)\" after ')'"},
      {"elu)", "unknown name \"elu)\""},
      {"relu(1)", "relu takes no parameters"},
      {"relu(alpha=1)", "relu has no parameter \"alpha\"; it takes none"},
      {"gelu_tanh(1)", "gelu_tanh takes no parameters"},
      {"elu(1, 2)", "elu takes at most 1 (alpha), but 2 were given"},
      {"elu(beta=1)", "elu has no parameter \"beta\"; expected alpha"},
      {"softplus(gamma=1)", "softplus has no parameter \"gamma\"; expected beta or threshold"},
      {"softplus(1, beta=2)", "the parameter \"beta\" is given twice"},
      {"softplus(beta=2, 1)", "\"1\" is given by position after a parameter given by name; expected name=\"1\""},
      {"softplus(,1)", "argument 1 is empty; expected a value"},
      {"softplus(1,)", "argument 2 is empty; expected a value"},
      {"elu(alpha=)", "expected a value after '=' in \"alpha=\""},
      {"elu(=1)", "expected a parameter's name before '=' in \"=1\""},
      {"elu(one)", "alpha = \"one\" is not a number"},
      {"elu(1x)", "alpha = \"1x\" is not a number"},
      {"elu(1 2)", "alpha = \"1 2\" is not a number"},
      {"elu(+-1)", "alpha = \"+-1\" is not a number"},
      {"elu(alpha==1)", "alpha = \"=1\" is not a number"},
      {"elu(inf)", "alpha = inf is not finite; expected a finite number"},
      {"leaky_relu(nan)", "negative_slope = nan is not finite; expected a finite number"},
      {"elu(1e999)", "alpha = 1e999 is out of the range of a double"},
      {"celu(0)", "alpha is 0; expected a number other than 0"},
      {"softplus(0)", "beta is 0; expected a number other than 0"},
      {"hardtanh(1, 1)", "min_val = 1 is not less than max_val = 1"},
      {"hardtanh(min_val=1.5)", "min_val = 1.5 is not less than max_val = 1"},
      {"softshrink(-0.1)", "lambd = -0.1 is negative; expected at least 0"},
      {"gelu(approximate=erf)", "approximate = \"erf\" is unknown; expected none or tanh"},
      {"gelu(tan=tanh)", "gelu has no parameter \"tan\"; expected approximate"},
      {"gelu(tanh, none)", "gelu takes at most 1 (approximate), but 2 were given"},
  };
  for (const auto& [text, what] : cases) {
    const std::string expected = "activation \"" + std::string(text) + "\": " + what;
    const std::string message = error_of(text);
    EXPECT_EQ(message.substr(0, expected.size()), expected);
  }
}

TEST(NearestNames, AreWithinASlipOfTheKeyboard) {
  const std::vector<std::string_view> names{"relu", "relu6", "silu", "sigmoid", "hardswish", "hardtanh", "leaky_relu"};
  using Names = std::vector<std::string>;
  EXPECT_EQ(nearest_names("rleu", names), (Names{"relu"}));                   // swap
  EXPECT_EQ(nearest_names("sgmoid", names), (Names{"sigmoid"}));              // deletion
  EXPECT_EQ(nearest_names("harddswish", names), (Names{"hardswish"}));        // insertion
  EXPECT_EQ(nearest_names("hardtamh", names), (Names{"hardtanh"}));           // substitution
  EXPECT_EQ(nearest_names("leakyrelu", names), (Names{"leaky_relu"}));        // deletion
  EXPECT_EQ(nearest_names("LEAKY", names), (Names{"leaky_relu"}));            // a beginning, whatever its case
  EXPECT_EQ(nearest_names("hard", names), (Names{"hardtanh", "hardswish"}));  // beginnings, the nearer first
  EXPECT_EQ(nearest_names("softmax", names), Names{});
  EXPECT_EQ(nearest_names("", names), Names{});
}

TEST(NearestNames, AreAtMostCountAndNearestFirst) {
  const std::vector<std::string_view> names{"abcdef", "abcdxx", "abcdex", "xbcdex"};
  using Names = std::vector<std::string>;
  EXPECT_EQ(nearest_names("abcdey", names), (Names{"abcdef", "abcdex", "abcdxx"}));
  EXPECT_EQ(nearest_names("abcdey", names, 1), (Names{"abcdef"}));
  EXPECT_EQ(nearest_names("abcdey", names, 0), Names{});
}

}  // namespace
}  // namespace anact
