#include "anact/gaussian.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <boost/math/quadrature/tanh_sinh.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "anact/activation.h"
#include "anact/normalization.h"

namespace anact {
namespace {

constexpr double kTolerance = 1e-10;
const long double kPi = std::acos(-1.0L);

struct Normal {
  double mean;
  double deviation;
};

const std::vector<Normal> kNormals{{0, 1},   {0.5, 2}, {-1, 0.3}, {5, 1},  {-5, 1},  {0, 1e-3},
                                   {0, 1e3}, {5, 1e3}, {-5, 1e3}, {5, 10}, {-5, 10}, {5, 1e-3}};

struct Expectations {
  long double mean;
  long double square;
  long double slope_square;
};

std::string describe(const Activation& activation, const Normal& normal) {
  return activation.to_string() + " under N(" + std::to_string(normal.mean) + ", " + std::to_string(normal.deviation) +
         "^2)";
}

// The mean is compared relative to sqrt(E[f^2]): it may vanish where f is odd.
void expect_near(const Statistics& actual, const Expectations& expected, double tolerance, const std::string& what) {
  EXPECT_NEAR(actual.output_mean, static_cast<double>(expected.mean),
              tolerance * static_cast<double>(std::sqrt(expected.square)))
      << what;
  const auto relative = [&](double a, long double b) {
    EXPECT_NEAR(a, static_cast<double>(b), tolerance * static_cast<double>(std::abs(b))) << what;
  };
  relative(actual.output_square, expected.square);
  relative(actual.backward_gain, expected.slope_square);
}

// E[x^k; low < x < high] for k = 0 … 4 under a normal, from the recursion for truncated moments:
// E[x^k] = m E[x^(k-1)] + (k-1) s^2 E[x^(k-2)] - s^2 [x^(k-1) p(x)].
std::array<long double, 5> partial_moments(const Normal& normal, long double low, long double high) {
  const long double m = normal.mean;
  const long double s = normal.deviation;
  const auto density = [&](long double x) {
    return std::isinf(x) ? 0.0L : std::exp(-0.5L * (x - m) * (x - m) / (s * s)) / (s * std::sqrt(2 * kPi));
  };
  const auto power = [&](long double x, int k) { return std::isinf(x) ? 0.0L : std::pow(x, k) * density(x); };
  const long double root = s * std::sqrt(2.0L);
  std::array<long double, 5> moments{};
  // From the nearer tail, where erfc has no cancellation.
  moments[0] = low >= m ? 0.5L * (std::erfc((low - m) / root) - std::erfc((high - m) / root))
                        : 0.5L * (std::erfc((m - high) / root) - std::erfc((m - low) / root));
  for (int k = 1; k < 5; ++k) {
    moments[k] = m * moments[k - 1] + (k > 1 ? (k - 1) * s * s * moments[k - 2] : 0) -
                 s * s * (power(high, k - 1) - power(low, k - 1));
  }
  return moments;
}

struct Piece {
  long double low;
  long double high;
  std::array<long double, 3> coefficients;  // of 1, x, x^2
};

Expectations piecewise_polynomial(const Normal& normal, const std::vector<Piece>& pieces) {
  Expectations sum{};
  for (const Piece& piece : pieces) {
    const auto moments = partial_moments(normal, piece.low, piece.high);
    const auto& c = piece.coefficients;
    for (int i = 0; i < 3; ++i) {
      sum.mean += c[i] * moments[i];
      for (int j = 0; j < 3; ++j) {
        sum.square += c[i] * c[j] * moments[i + j];
        if (i > 0 && j > 0) sum.slope_square += i * j * c[i] * c[j] * moments[i + j - 2];
      }
    }
  }
  return sum;
}

constexpr long double kInf = std::numeric_limits<long double>::infinity();

struct PolynomialCase {
  std::string activation;
  std::vector<Piece> pieces;
};

const std::vector<PolynomialCase> kPolynomialCases{
    {"identity", {{-kInf, kInf, {0, 1, 0}}}},
    {"relu", {{0, kInf, {0, 1, 0}}}},
    {"relu6", {{0, 6, {0, 1, 0}}, {6, kInf, {6, 0, 0}}}},
    {"leaky_relu(0.125)", {{-kInf, 0, {0, 0.125L, 0}}, {0, kInf, {0, 1, 0}}}},
    {"hardtanh", {{-kInf, -1, {-1, 0, 0}}, {-1, 1, {0, 1, 0}}, {1, kInf, {1, 0, 0}}}},
    {"hardtanh(-2, 0.5)", {{-kInf, -2, {-2, 0, 0}}, {-2, 0.5L, {0, 1, 0}}, {0.5L, kInf, {0.5L, 0, 0}}}},
    {"softshrink", {{-kInf, -0.5L, {0.5L, 1, 0}}, {0.5L, kInf, {-0.5L, 1, 0}}}},
    {"hardsigmoid", {{-3, 3, {0.5L, 1 / 6.0L, 0}}, {3, kInf, {1, 0, 0}}}},
    {"hardswish", {{-3, 3, {0, 0.5L, 1 / 6.0L}}, {3, kInf, {0, 1, 0}}}},
    {"relu2", {{0, kInf, {0, 0, 1}}}},
};

TEST(GaussianStatistics, OfPiecewisePolynomialsAreTheirTruncatedMoments) {
  for (const auto& [text, pieces] : kPolynomialCases) {
    const Activation activation = parse_activation(text);
    for (const Normal& normal : kNormals) {
      const Expectations expected = piecewise_polynomial(normal, pieces);
      // Deep in a tail the recursion itself cancels, and below 1e-290 the density of double underflows.
      if (expected.slope_square < 1e-9L) continue;
      const Statistics statistics = gaussian_statistics(activation, normal.mean, normal.deviation);
      expect_near(statistics, expected, kTolerance, describe(activation, normal));
      EXPECT_EQ(statistics.input_variance, normal.deviation * normal.deviation);
    }
  }
}

// E[exp(k x); x < 0] = exp(k m + k^2 s^2 / 2) Phi(-(m + k s^2) / s), in logarithms so that a large s does not overflow.
long double exponential_moment(const Normal& normal, long double k) {
  const long double m = normal.mean;
  const long double s = normal.deviation;
  const long double t = (m + k * s * s) / (s * std::sqrt(2.0L));
  const long double exponent = k * m + 0.5L * k * k * s * s;
  if (t < 20) return 0.5L * std::exp(exponent) * std::erfc(t);
  // exponent - t^2 = -m^2 / (2 s^2), times the continued fraction of exp(t^2) erfc(t).
  long double fraction = t;
  for (int i = 60; i >= 1; --i) fraction = t + 0.5L * i / fraction;
  return 0.5L * std::exp(-0.5L * m * m / (s * s)) / (std::sqrt(kPi) * fraction);
}

// scale * (x for x > 0, amplitude * (exp(rate x) - 1) below).
Expectations exponential_unit(const Normal& normal, long double scale, long double amplitude, long double rate) {
  const auto positive = partial_moments(normal, 0, kInf);
  const auto negative = partial_moments(normal, -kInf, 0);
  const long double e1 = exponential_moment(normal, rate);
  const long double e2 = exponential_moment(normal, 2 * rate);
  return {scale * (positive[1] + amplitude * (e1 - negative[0])),
          scale * scale * (positive[2] + amplitude * amplitude * (e2 - 2 * e1 + negative[0])),
          scale * scale * (positive[0] + amplitude * amplitude * rate * rate * e2)};
}

TEST(GaussianStatistics, OfExponentialUnitsAreTheirClosedForms) {
  struct Case {
    std::string activation;
    long double scale, amplitude, rate;
  };
  const std::vector<Case> cases{
      {"elu", 1, 1, 1},
      {"elu(0.5)", 1, 0.5L, 1},
      {"celu(2)", 1, 2, 0.5L},
      {"celu(0.125)", 1, 0.125L, 8},
      {"selu", 1.0507009873554804934193349852946L, 1.6732632423543772848170429916717L, 1},
  };
  for (const auto& [text, scale, amplitude, rate] : cases) {
    const Activation activation = parse_activation(text);
    for (const Normal& normal : kNormals) {
      // e2 - 2 e1 + Phi cancels to about (rate s)^2 of its terms.
      const double tolerance = normal.deviation < 0.01 && normal.mean == 0 ? 1e-9 : kTolerance;
      expect_near(gaussian_statistics(activation, normal.mean, normal.deviation),
                  exponential_unit(normal, scale, amplitude, rate), tolerance, describe(activation, normal));
    }
  }
}

TEST(GaussianStatistics, SeluHasItsFixedPoint) {
  const Statistics statistics = gaussian_statistics(make_activation(ActivationKind::selu));
  EXPECT_NEAR(statistics.output_mean, 0, 1e-14);
  EXPECT_NEAR(statistics.output_square, 1, 1e-14);
}

TEST(GaussianStatistics, ReluHasHesGain) {
  const Statistics statistics = gaussian_statistics(make_activation(ActivationKind::relu));
  EXPECT_NEAR(statistics.output_mean, static_cast<double>(1 / std::sqrt(2 * kPi)), 1e-15);
  EXPECT_NEAR(statistics.output_square, 0.5, 1e-14);
  EXPECT_NEAR(statistics.backward_gain, 0.5, 1e-14);
  EXPECT_EQ(statistics.input_variance, 1);
  EXPECT_NEAR(lambda(statistics, {}), std::sqrt(2.0), 1e-13);
}

// By integration by parts, from E[Phi(z)^2] = 1/3.
TEST(GaussianStatistics, GeluHasItsClosedForms) {
  const Statistics statistics = gaussian_statistics(make_activation(ActivationKind::gelu));
  const double pi = static_cast<double>(kPi);
  EXPECT_NEAR(statistics.output_mean, 1 / (2 * std::sqrt(pi)), 1e-14);
  EXPECT_NEAR(statistics.output_square, 1.0 / 3 + 1 / (2 * std::sqrt(3.0) * pi), 1e-14);
  EXPECT_NEAR(statistics.backward_gain, 1.0 / 3 + 2 / (3 * std::sqrt(3.0) * pi), 1e-14);
}

TEST(GaussianStatistics, SigmoidFamilyMeetsSteinsIdentity) {
  for (const double s : {1e-3, 0.5, 1.0, 30.0, 1e3}) {
    const auto of = [s](ActivationKind kind) { return gaussian_statistics(make_activation(kind), 0, s); };
    const Statistics sigmoid = of(ActivationKind::sigmoid);
    EXPECT_NEAR(sigmoid.output_mean, 0.5, 1e-14);
    EXPECT_NEAR(of(ActivationKind::tanh).output_mean, 0, 1e-14);
    // E[x sigmoid(x)] = s^2 E[sigmoid'(x)], and sigmoid' = sigmoid - sigmoid^2.
    const double expected = s * s * (sigmoid.output_mean - sigmoid.output_square);
    EXPECT_NEAR(of(ActivationKind::silu).output_mean / expected, 1, s > 1 ? 1e-11 : 1e-13) << s;
    // tanh(x) = 2 sigmoid(2x) - 1.
    const Statistics twice = gaussian_statistics(make_activation(ActivationKind::sigmoid), 0, 2 * s);
    EXPECT_NEAR(of(ActivationKind::tanh).backward_gain / (16 * twice.backward_gain), 1, 1e-12) << s;
  }
}

// An independent rule, tanh-sinh, between the kinks and x = 0, for every activation of the catalogue.
TEST(GaussianStatistics, AgreeWithTanhSinhForTheWholeCatalogue) {
  boost::math::quadrature::tanh_sinh<double> rule;
  for (const ActivationInfo& info : activation_catalogue()) {
    const Activation activation = make_activation(info.kind);
    for (const Normal& normal : kNormals) {
      std::vector<double> ends{-38, -8, 0, 8, 38};
      std::vector<double> marks = activation.kinks();
      marks.insert(marks.end(), {-8, -1, 0, 1, 8});
      for (const double x : marks) {
        const double z = (x - normal.mean) / normal.deviation;
        if (std::abs(z) < 38) ends.push_back(z);
      }
      std::ranges::sort(ends);
      const auto duplicates = std::ranges::unique(ends);
      ends.erase(duplicates.begin(), duplicates.end());
      const auto expectation = [&](const std::function<double(double)>& g) {
        long double sum = 0;
        for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
          sum += rule.integrate(
              [&](double z) {
                return std::exp(-0.5 * z * z) / std::sqrt(2 * static_cast<double>(kPi)) *
                       g(normal.mean + normal.deviation * z);
              },
              ends[i], ends[i + 1], 1e-12);
        }
        return sum;
      };
      const Expectations expected{
          expectation([&](double x) { return activation.value(x); }),
          expectation([&](double x) { return std::pow(activation.value(x), 2); }),
          expectation([&](double x) { return std::pow(activation.derivative(x), 2); }),
      };
      expect_near(gaussian_statistics(activation, normal.mean, normal.deviation), expected, kTolerance,
                  describe(activation, normal));
    }
  }
}

TEST(GaussianStatistics, OfOddActivationsMirrorTheMean) {
  for (const ActivationKind kind : {ActivationKind::tanh, ActivationKind::softsign, ActivationKind::tanhshrink,
                                    ActivationKind::softshrink, ActivationKind::hardtanh}) {
    for (const Normal& normal : kNormals) {
      const Statistics left = gaussian_statistics(make_activation(kind), -normal.mean, normal.deviation);
      const Statistics right = gaussian_statistics(make_activation(kind), normal.mean, normal.deviation);
      EXPECT_NEAR(left.output_mean, -right.output_mean, 1e-13 * std::sqrt(right.output_square));
      EXPECT_NEAR(left.output_square, right.output_square, 1e-13 * right.output_square);
      EXPECT_NEAR(left.backward_gain, right.backward_gain, 1e-12 * right.backward_gain);
    }
  }
}

// softplus tends to relu as beta grows: 1/2 - E[softplus'^2] tends to 1 / (beta s sqrt(2 pi)), since the integral of
// (step - sigmoid^2) is 1.
TEST(GaussianStatistics, SeesANarrowBendUnderAWideNormal) {
  struct Case {
    const char* activation;
    double deviation, narrowness;  // beta s
  };
  for (const auto& [text, deviation, narrowness] :
       {Case{"softplus(1, 1e9)", 1e3, 1e3}, Case{"softplus(1e3, 1e9)", 1, 1e3}, Case{"softplus(1e3, 1e9)", 1e3, 1e6}}) {
    const double defect = 0.5 - gaussian_statistics(parse_activation(text), 0, deviation).backward_gain;
    EXPECT_NEAR(defect * narrowness * std::sqrt(2 * static_cast<double>(kPi)), 1, 1e-5) << text;
  }
}

TEST(GaussianStatistics, AreExactToRoundingAcrossKinks) {
  for (const char* text : {"hardtanh(-0.37, 0.83)", "softshrink(0.41)", "relu6"}) {
    const Activation activation = parse_activation(text);
    const double low = activation.parameters[0], high = activation.parameters[1];
    const std::vector<Piece> pieces =
        activation.kind == ActivationKind::hardtanh
            ? std::vector<Piece>{{-kInf, low, {low, 0, 0}}, {low, high, {0, 1, 0}}, {high, kInf, {high, 0, 0}}}
        : activation.kind == ActivationKind::softshrink
            ? std::vector<Piece>{{-kInf, -low, {low, 1, 0}}, {low, kInf, {-low, 1, 0}}}
            : std::vector<Piece>{{0, 6, {0, 1, 0}}, {6, kInf, {6, 0, 0}}};
    for (const Normal& normal : {Normal{0.11, 1.3}, {-0.7, 0.6}, {0.3, 40}}) {
      expect_near(gaussian_statistics(activation, normal.mean, normal.deviation), piecewise_polynomial(normal, pieces),
                  5e-15, describe(activation, normal));
    }
  }
}

TEST(GaussianStatistics, RefuseWhatIsNotANormal) {
  const Activation relu = make_activation(ActivationKind::relu);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const double mean : {kInfinity, -kInfinity, kNaN}) {
    EXPECT_THROW((void)gaussian_statistics(relu, mean, 1), std::invalid_argument);
  }
  for (const double deviation : {0.0, -1.0, kInfinity, kNaN}) {
    EXPECT_THROW((void)gaussian_statistics(relu, 0, deviation), std::invalid_argument);
  }
}

}  // namespace
}  // namespace anact
