#include "anact/normalization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "anact/activation.h"
#include "anact/gaussian.h"
#include "math/message_of.h"

namespace anact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Bounds that clamp nothing of interest.
constexpr double kLow = 1e-100;
constexpr double kHigh = 1e100;

NormalizationOptions make_options(Solution solution, Target target = Target::input, Gain gain = Gain::activation,
                                  bool centre = true) {
  return {solution, target, gain, centre, kLow, kHigh};
}

// The target, written out.
double held_moment(Target target, double variance) {
  if (target == Target::damped) return std::sqrt(variance) * std::sqrt(std::sqrt(variance));
  return target == Target::input ? variance : 1;
}

// Statistics that could come from data: s >= mu^2.
const std::vector<Statistics> kSamples{
    {0.39894228040143270, 0.5, 1, 0.5},
    {0.2066, 0.3558, 1, 0.3795},
    {-0.3, 0.2, 2.5, 0.1},
    {0, 1, 1, 1},
    {1.2, 3, 0.04, 1.7},
    {-2e-3, 5e-6, 1e-5, 0.9},
    {40, 2000, 900, 0.7},
};

TEST(Gains, AreOfTheActivationOrOfTheOutput) {
  const Statistics statistics{0.5, 0.75, 3, 0.6};
  const auto forward = [&](Gain gain, bool centre) {
    return gains(statistics, make_options(Solution::compromise, Target::input, gain, centre)).forward;
  };
  EXPECT_DOUBLE_EQ(forward(Gain::activation, true), 0.25);
  EXPECT_DOUBLE_EQ(forward(Gain::activation, false), 0.25);
  EXPECT_DOUBLE_EQ(forward(Gain::output, true), 0.5 / 3);
  EXPECT_DOUBLE_EQ(forward(Gain::output, false), 0.25);
  // Target `unit` is not applied here.
  EXPECT_DOUBLE_EQ(gains(statistics, make_options(Solution::exact, Target::unit)).forward, 0.25);
  EXPECT_DOUBLE_EQ(gains(statistics, make_options(Solution::exact, Target::unit)).backward, 0.6);
}

TEST(Gains, OfDegenerateStatistics) {
  const NormalizationOptions options;
  EXPECT_EQ(gains({0, 0, 0, 0}, options).forward, 0);
  EXPECT_EQ(gains({0, 0, 0, 0}, options).backward, 0);
  EXPECT_EQ(gains({1, 1, 0, 1}, options).forward, kInfinity);
  EXPECT_EQ(gains({0, 0, 1, 1}, options).forward, 0);
  // Rounding can leave s a little below mu^2.
  EXPECT_EQ(gains({1, 1 - 1e-16, 1, 1}, {.gain = Gain::output}).forward, 0);
}

TEST(Lambda, OfReluUnderAStandardNormalIsHesGain) {
  const Statistics relu = gaussian_statistics(make_activation(ActivationKind::relu));
  for (const Solution solution : all_solutions()) {
    EXPECT_NEAR(lambda(relu, {.solution = solution}), std::sqrt(2.0), 1e-13) << to_string(solution);
  }
}

// Every solution, target, gain and centring against the defining equation, with the gains written out.
TEST(Lambda, MeetsItsDefinitionForEveryCombination) {
  for (const Statistics& statistics : kSamples) {
    const auto& [mean, square, variance, slope] = statistics;
    for (const Target target : all_targets()) {
      for (const Gain gain : {Gain::activation, Gain::output}) {
        for (const bool centre : {true, false}) {
          const double moment = gain == Gain::output && centre ? square - mean * mean : square;
          const double held = held_moment(target, variance);
          const double rho = moment / held;
          const double rho_prime = variance * slope / held;
          const auto squared = [&](Solution solution) {
            const double factor = lambda(statistics, make_options(solution, target, gain, centre));
            return factor * factor;
          };
          const double compromise = squared(Solution::compromise);
          EXPECT_NEAR(1 / (compromise * rho) + 1 / (compromise * rho_prime), 2, 1e-13);
          EXPECT_NEAR(squared(Solution::forward) * rho, 1, 1e-13);
          EXPECT_NEAR(squared(Solution::backward) * rho_prime, 1, 1e-13);
          const double geometric = squared(Solution::geometric);
          EXPECT_NEAR((geometric * rho) * (geometric * rho_prime), 1, 1e-13);
          EXPECT_NEAR(squared(Solution::exact) * rho_prime, 1, 1e-13);
        }
      }
    }
  }
}

// y = scale f + offset on data, by brute force: E[y^2] is the target and the slope's gain is 1.
TEST(Factors, ExactHoldsBothPropertiesOnData) {
  std::mt19937_64 engine(7);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> noise(4000);
  for (double& z : noise) z = normal(engine);
  for (const ActivationInfo& info : activation_catalogue()) {
    const Activation activation = make_activation(info.kind);
    for (const auto& [mean, deviation] : {std::pair{0.0, 1.0}, {0.4, 0.7}, {-0.5, 1.5}}) {
      Moments moments;
      std::vector<double> inputs;
      for (const double z : noise) {
        const double x = mean + deviation * z;
        inputs.push_back(x);
        moments.add(x, activation.value(x), activation.derivative(x));
      }
      const Statistics statistics = to_statistics(moments);
      for (const Target target : all_targets()) {
        const NormalizationOptions options = make_options(Solution::exact, target);
        const Factors map = factors(statistics, 0, options);
        const double goal = held_moment(target, statistics.input_variance);
        long double square = 0;
        long double slope = 0;
        for (const double x : inputs) {
          const long double y = static_cast<long double>(map.scale) * activation.value(x) + map.offset;
          const long double d = static_cast<long double>(map.scale) * activation.derivative(x);
          square += y * y;
          slope += d * d;
        }
        square /= inputs.size();
        slope /= inputs.size();
        // On a sample the variance of f can exceed what the scale leaves room for, by sampling noise.
        const double emitted = map.scale * map.scale * (statistics.output_square - std::pow(statistics.output_mean, 2));
        EXPECT_NEAR(static_cast<double>(square), std::max(goal, emitted), 1e-9 * goal) << info.name;
        EXPECT_NEAR(static_cast<double>(slope) * statistics.input_variance / goal, 1, 1e-11) << info.name;
      }
    }
  }
}

TEST(Factors, ExactHasARealShiftUnderEveryNormal) {
  // Var f <= v E[f'^2]: Gaussian-Poincare. Equality for the identity.
  for (const ActivationInfo& info : activation_catalogue()) {
    if (info.kind == ActivationKind::softplus) continue;  // jumps by 2e-9 at its threshold
    for (const auto& [mean, deviation] : {std::pair{0.0, 1.0}, {0.5, 2.0}, {-1.0, 0.25}}) {
      const Statistics s = gaussian_statistics(make_activation(info.kind), mean, deviation);
      const double spread = s.output_square - s.output_mean * s.output_mean;
      EXPECT_LE(spread, s.input_variance * s.backward_gain * (1 + 1e-12)) << info.name;
    }
  }
}

TEST(OutputShift, IsBelowZeroAndZeroWhereNoRealShiftExists) {
  const NormalizationOptions options = make_options(Solution::exact);
  EXPECT_NEAR(output_shift({0.5, 0.5, 1, 1}, options), -std::sqrt(0.75), 1e-15);
  EXPECT_NEAR(output_shift({-0.5, 0.5, 1, 1}, options), -std::sqrt(0.75), 1e-15);
  EXPECT_NEAR(output_shift({0, 0.5, 1, 1}, options), -std::sqrt(0.5), 1e-15);
  EXPECT_EQ(output_shift({0, 2, 1, 1}, options), 0);
  // unit: lambda^2 = 1 / (v rho') = 1/4, spread 1.
  EXPECT_NEAR(output_shift({0, 1, 4, 1}, make_options(Solution::exact, Target::unit)), -std::sqrt(0.75), 1e-15);
  for (const Solution solution : all_solutions()) {
    if (solution != Solution::exact) {
      EXPECT_EQ(output_shift({0.5, 0.5, 1, 1}, make_options(solution)), 0);
    }
  }
}

TEST(TargetMoment, OfDampedForgetsOverFourLayers) {
  // Weights that add log 2 to log v at each of many layers: the sum of 0.75^k.
  double v = 1;
  for (int layer = 0; layer < 200; ++layer) v = 2 * target_moment(Target::damped, v);
  EXPECT_NEAR(v, 16, 1e-12);
  EXPECT_EQ(target_moment(Target::damped, 0), 0);
  EXPECT_EQ(target_moment(Target::damped, 1), 1);
}

TEST(OutputShift, UsesTheClampedLambda) {
  NormalizationOptions options{.solution = Solution::exact, .lambda_max = 0.5};
  EXPECT_NEAR(output_shift({1, 2, 1, 1}, options), -std::sqrt(0.75), 1e-15);
}

TEST(Lambda, IsClampedToItsBounds) {
  const NormalizationOptions options;
  EXPECT_EQ(lambda({0, 1e-8, 1, 1e-8}, options), 10);
  EXPECT_EQ(lambda({0, 1e8, 1, 1e8}, options), 0.1);
  EXPECT_EQ(lambda({0, 1, 1, 1}, options), 1);
  EXPECT_EQ(lambda({0, 1, 1, 1}, {.lambda_min = 3, .lambda_max = 3}), 3);
}

TEST(Lambda, OfAZeroGainIsTheUpperBound) {
  for (const Target target : all_targets()) {
    for (const Gain gain : {Gain::activation, Gain::output}) {
      for (const Solution solution : all_solutions()) {
        const NormalizationOptions options{.solution = solution, .target = target, .gain = gain};
        EXPECT_EQ(lambda({0, 0, 1, 0}, options), 10);
        EXPECT_EQ(lambda({0, 0, 0, 0}, options), 10);
        EXPECT_EQ(lambda({3, 9, 0, 0}, {.solution = solution, .target = target, .gain = Gain::output}), 10)
            << to_string(solution);
      }
    }
  }
  EXPECT_EQ(lambda({0, 0, 1, 1}, {.solution = Solution::forward}), 10);
  EXPECT_EQ(lambda({0, 1, 1, 0}, {.solution = Solution::backward}), 10);
  EXPECT_EQ(lambda({0, 1, 1, 0}, {.solution = Solution::geometric}), 10);
  EXPECT_EQ(lambda({0, 1, 1, 0}, {.solution = Solution::compromise}), 10);
  // A constant input: rho is infinite, so forward asks for the least scale.
  EXPECT_EQ(lambda({1, 1, 0, 1}, {.solution = Solution::forward}), 0.1);
  EXPECT_EQ(lambda({1, 1, 0, 0}, {.solution = Solution::geometric}), 10);
}

TEST(Lambda, IsInsideItsBoundsForAnyFiniteStatistics) {
  const std::vector<double> values{0, 5e-324, 1e-310, 1e-200, 1e-8, 1, 1e8, 1e200, 1.7e308};
  for (const double mean : {0.0, -1.0, 1e-200, 1e200}) {
    for (const double square : values) {
      for (const double variance : values) {
        for (const double slope : values) {
          for (const Solution solution : all_solutions()) {
            for (const Target target : all_targets()) {
              for (const Gain gain : {Gain::activation, Gain::output}) {
                const NormalizationOptions options{.solution = solution, .target = target, .gain = gain};
                const Statistics statistics{mean, square, variance, slope};
                const double factor = lambda(statistics, options);
                ASSERT_TRUE(factor >= 0.1 && factor <= 10) << factor;
                ASSERT_FALSE(std::isnan(output_shift(statistics, options)));
              }
            }
          }
        }
      }
    }
  }
}

TEST(Lambda, SurvivesGainsWhoseProductWouldOverflow) {
  NormalizationOptions options = make_options(Solution::geometric);
  EXPECT_NEAR(lambda({0, 1e-160, 1, 1e-160}, options), 1e80, 1e67);
  options.solution = Solution::compromise;
  EXPECT_NEAR(lambda({0, 1e-160, 1, 1e-160}, options), 1e80, 1e67);
}

TEST(Factors, OfAlphaZeroAreLambdaAndTheCentre) {
  for (const Statistics& statistics : kSamples) {
    for (const Solution solution : all_solutions()) {
      const NormalizationOptions options = make_options(solution);
      const Factors map = factors(statistics, 0, options);
      EXPECT_EQ(map.scale, lambda(statistics, options));
      EXPECT_EQ(map.centre, statistics.output_mean);
      EXPECT_EQ(map.offset, output_shift(statistics, options) - map.scale * map.centre);
      EXPECT_DOUBLE_EQ(map.scale_slope, 0.3);
    }
  }
}

TEST(Factors, WithoutCentreHaveNoOffset) {
  const Factors map =
      factors(kSamples[1], 0.5, make_options(Solution::forward, Target::input, Gain::activation, false));
  EXPECT_EQ(map.centre, 0);
  EXPECT_EQ(map.offset, 0);
}

TEST(Factors, ScaleSlopeIsTheDerivativeInAlpha) {
  const Statistics& statistics = kSamples[1];
  const NormalizationOptions options = make_options(Solution::compromise);
  const double base = lambda(statistics, options);
  for (const double alpha : {-3.0, -1.0, -0.1, 0.0, 0.2, 1.5, 4.0}) {
    const Factors map = factors(statistics, alpha, options);
    EXPECT_DOUBLE_EQ(map.scale, base + 0.3 * std::tanh(alpha));
    const double h = 1e-3;
    const auto difference = [&](double step) {
      return (factors(statistics, alpha + step, options).scale - factors(statistics, alpha - step, options).scale) /
             (2 * step);
    };
    EXPECT_NEAR(map.scale_slope, (4 * difference(h / 2) - difference(h)) / 3, 1e-11);
  }
}

TEST(Factors, OfAFarAlphaStayFinite) {
  for (const double alpha : {-1e308, -800.0, 800.0, 1e308, kInfinity, -kInfinity}) {
    const Factors map = factors(kSamples[0], alpha, {});
    EXPECT_NEAR(map.scale, std::sqrt(2.0) + std::copysign(0.3, alpha), 1e-13);
    EXPECT_EQ(map.scale_slope, 0);
  }
  // 1 - tanh^2 is 0 here; the slope is not.
  EXPECT_NEAR(factors(kSamples[0], 20, {}).scale_slope / (1.2 * std::exp(-40.0)), 1, 1e-14);
}

TEST(Factors, CentringWithTheGainOfTheActivationShrinks) {
  const Statistics relu = gaussian_statistics(make_activation(ActivationKind::relu));
  const auto emitted = [&](Gain gain) {
    const double factor = lambda(relu, {.solution = Solution::compromise, .gain = gain});
    return factor * factor * (relu.output_square - relu.output_mean * relu.output_mean);
  };
  EXPECT_NEAR(emitted(Gain::activation), 1 - 1 / std::acos(-1.0), 1e-13);
  EXPECT_GT(emitted(Gain::output), emitted(Gain::activation));
  const NormalizationOptions forward{.solution = Solution::forward, .gain = Gain::output};
  const double factor = lambda(relu, forward);
  EXPECT_NEAR(factor * factor * (relu.output_square - relu.output_mean * relu.output_mean), 1, 1e-13);
}

TEST(Validate, AcceptsTheDefaultsAndEverySolution) {
  EXPECT_NO_THROW(validate({}));
  for (const Solution solution : all_solutions()) EXPECT_NO_THROW(validate({.solution = solution}));
  EXPECT_NO_THROW(validate({.solution = Solution::compromise, .centre = false}));
  EXPECT_NO_THROW(validate({.lambda_min = 2, .lambda_max = 2}));
}

TEST(Validate, RefusesBadBoundsAndExactWithoutCentre) {
  for (const auto& [low, high] : {std::pair{0.0, 1.0},
                                  {-1.0, 1.0},
                                  {2.0, 1.0},
                                  {0.1, kInfinity},
                                  {kNaN, 1.0},
                                  {0.1, kNaN},
                                  {kInfinity, kInfinity}}) {
    const std::string message = message_of([&] { validate({.lambda_min = low, .lambda_max = high}); });
    EXPECT_NE(message.find("expected 0 < lambda_min <= lambda_max < inf"), std::string::npos) << message;
  }
  EXPECT_NE(message_of([] { validate({.lambda_min = 3, .lambda_max = 2}); }).find("[3"), std::string::npos);
  const std::string message = message_of([] { validate({.solution = Solution::exact, .centre = false}); });
  EXPECT_NE(message.find("\"exact\" without centre"), std::string::npos) << message;
}

TEST(Names, RoundTrip) {
  for (const Solution value : all_solutions()) EXPECT_EQ(parse_solution(to_string(value)), value);
  for (const Target value : all_targets()) EXPECT_EQ(parse_target(to_string(value)), value);
  for (const Gain value : {Gain::activation, Gain::output}) EXPECT_EQ(parse_gain(to_string(value)), value);
  for (const StatisticsSource value :
       {StatisticsSource::previous, StatisticsSource::running, StatisticsSource::batch}) {
    EXPECT_EQ(parse_statistics_source(to_string(value)), value);
  }
}

TEST(Names, AreTheDocumentedOnes) {
  std::vector<std::string> names;
  for (const Solution value : all_solutions()) names.emplace_back(to_string(value));
  EXPECT_EQ(names, (std::vector<std::string>{"exact", "compromise", "forward", "backward", "geometric"}));
  EXPECT_EQ(to_string(Target::unit), "unit");
  EXPECT_EQ(to_string(Gain::output), "output");
  EXPECT_EQ(to_string(StatisticsSource::previous), "previous");
}

TEST(Names, UnknownOnesAreRefusedWithTheAcceptedOnes) {
  EXPECT_EQ(message_of([] { (void)parse_solution("compromize"); }),
            "unknown solution \"compromize\"; expected one of exact, compromise, forward, backward, geometric (did you "
            "mean compromise?)");
  EXPECT_EQ(message_of([] { (void)parse_target("zzz"); }),
            "unknown target \"zzz\"; expected one of damped, input, unit");
  EXPECT_EQ(message_of([] { (void)parse_gain(""); }), "unknown gain \"\"; expected one of activation, output");
  EXPECT_EQ(
      message_of([] { (void)parse_statistics_source("Batch"); }),
      "unknown statistics source \"Batch\"; expected one of previous, running, batch, fixed (did you mean batch?)");
}

}  // namespace
}  // namespace anact
