// f and f' of every kernel against the double-precision specification, under every instruction set.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/instruction_sets.h"
#include "kernels/ulp.h"

namespace anact::kernels {
namespace {

using AccuracyTest = EveryInstructionSet;

template <typename T>
void expect_within_bounds(const std::vector<T>& x, double factor, double extra) {
  for (const auto& activation : activations()) {
    const auto& bound = accuracy(activation.kind);
    const auto worst = worst_errors(activation, x);
    const auto name = activation.to_string();
    EXPECT_LE(worst.value.ulp, factor * bound.value_ulp + extra) << name << " at " << worst.value.at;
    EXPECT_LE(worst.slope.ulp, factor * bound.slope_ulp + extra) << name << " derivative at " << worst.slope.at;
  }
}

// A stride of all bit patterns that is prime, so that every exponent and sign comes with varied mantissas.
TEST_P(AccuracyTest, FloatStaysWithinTheStatedBoundOverTheWholeRange) {
  constexpr std::uint64_t kStride = 60013;
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += kStride) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(value)) x.push_back(value);
  }
  expect_within_bounds(x, 1, 0);
}

// Half the bit patterns lie below 2^-63 in size: these are the ones where something happens.
TEST_P(AccuracyTest, FloatStaysWithinTheStatedBoundWhereTheFunctionsBend) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(-24, 24);
  std::vector<float> x(30000);
  for (float& value : x) value = uniform(generator);
  for (float value = -120; value <= 120; value += 0.01F) x.push_back(value);
  expect_within_bounds(x, 1, 0);
}

TEST_P(AccuracyTest, DoubleStaysWithinTwiceTheBoundPlusTwo) {
  std::vector<double> x;
  constexpr std::uint64_t kStride = 0x0003'1415'9265'3589;
  for (std::uint64_t i = 0, bits = 0; i < 20000; ++i, bits += kStride) {
    const auto value = std::bit_cast<double>(bits);
    if (std::isfinite(value)) x.push_back(value);
  }
  std::mt19937_64 generator(7);
  std::uniform_real_distribution<double> uniform(-40, 40);
  for (int i = 0; i < 20000; ++i) x.push_back(uniform(generator));
  for (double value = -800; value <= 800; value += 0.11) x.push_back(value);
  expect_within_bounds(x, 2, 2);
}

template <typename T>
void expect_special_values() {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  constexpr T kSubnormal = std::numeric_limits<T>::denorm_min();
  const std::vector<T> x{kNaN, kInfinity, -kInfinity, T{0}, -T{0}, kSubnormal, -kSubnormal, T{100}, -T{100}};
  for (const auto& activation : activations()) {
    SCOPED_TRACE(activation.to_string());
    const auto exact = rounded<T>(activation);
    const auto [value, slope] = evaluate(activation, x, T{1});
    EXPECT_TRUE(std::isnan(value[0]));
    for (std::size_t i = 1; i < x.size(); ++i) {
      const double f = exact.value(x[i]);
      const double derivative = exact.derivative(x[i]);
      const bool infinite = std::isinf(x[i]);
      if (infinite && std::isnan(value[i])) continue;
      EXPECT_LE(ulp_error(f, value[i], 1.0), 8) << x[i];
      if (infinite && std::isnan(slope[i])) continue;
      EXPECT_LE(ulp_error(derivative, slope[i], 1.0), 8) << x[i];
    }
  }
}

TEST_P(AccuracyTest, SpecialValuesGiveTheLimitOrANaNAndANaNStays) {
  expect_special_values<float>();
  expect_special_values<double>();
}

TEST_P(AccuracyTest, SmoothDerivativesLetANaNThrough) {
  for (const auto& info : activation_catalogue()) {
    if (!info.smooth || info.kind == ActivationKind::identity) continue;
    const auto [value, slope] =
        evaluate(make_activation(info.kind), std::vector<float>(1, std::numeric_limits<float>::quiet_NaN()), 1.0F);
    EXPECT_TRUE(std::isnan(slope[0])) << info.name;
  }
}

TEST_P(AccuracyTest, OddFunctionsAreOdd) {
  const auto x = normal_draws(1001, 0, 3);
  auto negative = x;
  for (float& value : negative) value = -value;
  for (const auto kind : {ActivationKind::tanh, ActivationKind::tanhshrink, ActivationKind::softsign}) {
    const auto right = evaluate(make_activation(kind), x, 1.0F);
    const auto left = evaluate(make_activation(kind), negative, 1.0F);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(right.value[i], -left.value[i]);
    EXPECT_EQ(right.slope, left.slope);
  }
}

ANACT_EVERY_INSTRUCTION_SET(AccuracyTest);

TEST(Catalogue, EveryActivationHasAKernel) {
  for (const auto& info : activation_catalogue()) EXPECT_TRUE(has_kernel(info.kind)) << info.name;
}

}  // namespace
}  // namespace anact::kernels
