// The fused float kernels against the double-precision specification, under every instruction set of this processor.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace anact::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNaN = std::numeric_limits<float>::quiet_NaN();

// The bounds that kernels.h states, in units in the last place of the larger of |exact| and `floor`; below `tiny` only
// the absolute error counts.
struct Bound {
  ActivationKind kind;
  double value_ulp;
  double value_tiny;
  double slope_ulp;
  double slope_floor;
};
constexpr Bound kBounds[] = {{ActivationKind::relu, 0, 0, 0, 0}, {ActivationKind::silu, 4, 1e-34, 4, 0.25}};

std::vector<ActivationKind> fused_kinds() {
  std::vector<ActivationKind> kinds;
  for (const auto& info : activation_catalogue()) {
    if (has_float32(info.kind)) kinds.push_back(info.kind);
  }
  return kinds;
}

Bound bound_of(ActivationKind kind) {
  for (const auto& bound : kBounds) {
    if (bound.kind == kind) return bound;
  }
  ADD_FAILURE() << activation_info(kind).name << " has a kernel but no stated bound";
  return {};
}

// The distance in units in the last place of float at max(|exact|, floor).
double ulp_error(double exact, double got, double floor) {
  const double size = std::max({std::abs(exact), floor, static_cast<double>(std::numeric_limits<float>::min())});
  const double unit = std::ldexp(1.0, std::ilogb(size) - 23);
  return std::abs(exact - got) / unit;
}

// f and f' as the kernels compute them: the identity map, and a gradient of 1.
struct Outputs {
  std::vector<float> value;
  std::vector<float> slope;
};
Outputs run(const Activation& activation, const std::vector<float>& x) {
  Outputs result{std::vector<float>(x.size()), std::vector<float>(x.size())};
  const std::vector<float> ones(x.size(), 1.0F);
  std::vector<GradientSums> sums(block_count(x.size()));
  forward_f32(activation, x.data(), x.size(), 1, 0, result.value.data(), nullptr);
  backward_f32(activation, x.data(), ones.data(), x.size(), 1, result.slope.data(), sums.data());
  return result;
}

Moments total(const std::vector<Moments>& parts) {
  Moments all;
  for (const auto& part : parts) all.merge(part);
  return all;
}

std::vector<float> normal_draws(std::size_t size, float mean = 0, float deviation = 1) {
  std::mt19937 generator(size);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> x(size);
  for (float& value : x) value = normal(generator);
  return x;
}

// Each test runs under every instruction set there is.
class Float32 : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { use_instruction_set(GetParam()); }
  void TearDown() override { use_instruction_set(""); }
};

TEST_P(Float32, IsTheInstructionSetAskedFor) { EXPECT_EQ(instruction_set(), GetParam()); }

// A stride of all bit patterns that is prime, so that every exponent and sign comes with varied mantissas.
TEST_P(Float32, ValueAndDerivativeStayWithinTheStatedBoundOverTheWholeRange) {
  constexpr std::uint64_t kStride = 6007;
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += kStride) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(value)) x.push_back(value);
  }
  for (const auto kind : fused_kinds()) {
    const auto activation = make_activation(kind);
    const auto bound = bound_of(kind);
    const auto outputs = run(activation, x);
    double worst_value = 0;
    double worst_slope = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = activation.value(x[i]);
      if (std::abs(value) < bound.value_tiny) {
        ASSERT_LT(std::abs(outputs.value[i] - value), bound.value_tiny) << x[i];
      } else {
        worst_value = std::max(worst_value, ulp_error(value, outputs.value[i], 0));
      }
      worst_slope = std::max(worst_slope, ulp_error(activation.derivative(x[i]), outputs.slope[i], bound.slope_floor));
    }
    const auto name = std::string(activation_info(kind).name);
    EXPECT_LE(worst_value, bound.value_ulp) << name << " value";
    EXPECT_LE(worst_slope, bound.slope_ulp) << name << " derivative";
    RecordProperty(name + "_value_ulp", std::to_string(worst_value));
    RecordProperty(name + "_slope_ulp", std::to_string(worst_slope));
  }
}

TEST_P(Float32, SpecialValuesGoThroughAsInTheFormula) {
  const std::vector<float> x{0.0F, -0.0F, kInfinity, -kInfinity, kNaN, 1e-40F, -1e-40F, 100.0F, -100.0F, 88.0F, -88.0F};
  const auto relu = run(make_activation(ActivationKind::relu), x);
  EXPECT_EQ(relu.value[2], kInfinity);
  EXPECT_EQ(relu.value[3], 0);
  EXPECT_TRUE(std::isnan(relu.value[4]));
  EXPECT_EQ(relu.value[5], 1e-40F);
  EXPECT_EQ(relu.slope[0], 0);
  EXPECT_EQ(relu.slope[1], 0);
  EXPECT_EQ(relu.slope[2], 1);
  const auto silu = run(make_activation(ActivationKind::silu), x);
  EXPECT_EQ(silu.value[0], 0);
  EXPECT_EQ(silu.slope[0], 0.5F);
  EXPECT_EQ(silu.value[2], kInfinity);
  EXPECT_TRUE(std::isnan(silu.value[4]));
  EXPECT_TRUE(std::isnan(silu.slope[4]));
  EXPECT_EQ(silu.value[7], 100.0F);
  EXPECT_EQ(silu.slope[7], 1.0F);
  EXPECT_NEAR(silu.value[8], 0, 1e-34);
}

TEST_P(Float32, EverySizeGivesTheWholeResultAndWritesNothingElse) {
  for (const std::size_t size : {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 127, 4095, 4096, 4097, 4099, 12289}) {
    const auto x = normal_draws(size);
    const auto g = normal_draws(size + 1);
    for (const auto kind : fused_kinds()) {
      const auto activation = make_activation(kind);
      constexpr float kGuard = 12345;
      std::vector<float> y(size + 1, kGuard);
      std::vector<float> dx(size + 1, kGuard);
      std::vector<Moments> moments(block_count(size));
      std::vector<GradientSums> sums(block_count(size));
      forward_f32(activation, x.data(), size, 1.5F, -0.25F, y.data(), moments.data());
      backward_f32(activation, x.data(), g.data(), size, 1.5F, dx.data(), sums.data());
      Moments expected;
      double gradient = 0;
      double gradient_value = 0;
      double absolute = 0;
      for (std::size_t i = 0; i < size; ++i) {
        const double f = activation.value(x[i]);
        const double slope = activation.derivative(x[i]);
        ASSERT_NEAR(y[i], 1.5 * f - 0.25, 1e-6 * (1 + std::abs(f))) << size << " " << i;
        ASSERT_NEAR(dx[i], 1.5 * g[i] * slope, 1e-6 * std::abs(g[i])) << size << " " << i;
        expected.add(x[i], f, slope);
        gradient += g[i];
        gradient_value += g[i] * f;
        absolute += std::abs(g[i] * f) + std::abs(g[i]);
      }
      EXPECT_EQ(y[size], kGuard);
      EXPECT_EQ(dx[size], kGuard);
      const auto all = total(moments);
      const auto n = static_cast<double>(size);
      EXPECT_EQ(all.count, n);
      EXPECT_NEAR(all.input_mean, expected.input_mean, 3e-7);
      EXPECT_NEAR(all.input_m2, expected.input_m2, 3e-6 * n);
      EXPECT_NEAR(all.output_sum, expected.output_sum, 3e-7 * n);
      EXPECT_NEAR(all.output_square_sum, expected.output_square_sum, 1e-6 * n);
      EXPECT_NEAR(all.slope_square_sum, expected.slope_square_sum, 1e-6 * n);
      GradientSums sum;
      for (const auto& part : sums) {
        sum.gradient += part.gradient;
        sum.gradient_value += part.gradient_value;
      }
      EXPECT_NEAR(sum.gradient, gradient, 1e-6 * absolute);
      EXPECT_NEAR(sum.gradient_value, gradient_value, 1e-6 * absolute);
    }
  }
}

TEST_P(Float32, VarianceSurvivesALargeMeanAndAnOutlierAtTheFront) {
  const auto relu = make_activation(ActivationKind::relu);
  auto x = normal_draws(20000, 1000.0F, 1.0F);
  for (const float front : {1000.0F, 2000.0F}) {
    x[0] = front;
    Moments expected;
    for (const float value : x) expected.add(value, 0, 0);
    std::vector<Moments> moments(block_count(x.size()));
    std::vector<float> y(x.size());
    forward_f32(relu, x.data(), x.size(), 1, 0, y.data(), moments.data());
    const auto all = total(moments);
    EXPECT_NEAR(all.input_mean, expected.input_mean, 1e-5);
    EXPECT_NEAR(all.input_m2 / expected.input_m2, 1, 1e-5);
  }
}

TEST_P(Float32, SumsAloneAreTheSumsWithTheOutput) {
  const auto x = normal_draws(10001);
  for (const auto kind : fused_kinds()) {
    const auto activation = make_activation(kind);
    std::vector<Moments> alone(block_count(x.size()));
    std::vector<Moments> both(block_count(x.size()));
    std::vector<float> y(x.size());
    std::vector<float> written(x.size());
    forward_f32(activation, x.data(), x.size(), 1, 0, nullptr, alone.data());
    forward_f32(activation, x.data(), x.size(), 1, 0, y.data(), both.data());
    forward_f32(activation, x.data(), x.size(), 1, 0, written.data(), nullptr);
    EXPECT_EQ(y, written);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(alone[i].input_m2, both[i].input_m2);
      EXPECT_EQ(alone[i].output_square_sum, both[i].output_square_sum);
      EXPECT_EQ(alone[i].slope_square_sum, both[i].slope_square_sum);
    }
  }
}

TEST_P(Float32, ANonFiniteElementMakesItsBlockNonFiniteAndNoOther) {
  for (const float poison : {kNaN, kInfinity, -kInfinity}) {
    auto x = normal_draws(3 * kBlockSize);
    x[kBlockSize + 100] = poison;
    std::vector<Moments> moments(3);
    std::vector<float> y(x.size());
    forward_f32(make_activation(ActivationKind::silu), x.data(), x.size(), 1, 0, y.data(), moments.data());
    EXPECT_TRUE(to_statistics(moments[0]).is_finite());
    EXPECT_FALSE(to_statistics(moments[1]).is_finite());
    EXPECT_TRUE(to_statistics(moments[2]).is_finite());
    EXPECT_FALSE(to_statistics(total(moments)).is_finite());
  }
}

TEST_P(Float32, WorksInPlace) {
  const auto x = normal_draws(5000);
  const auto silu = make_activation(ActivationKind::silu);
  std::vector<float> apart(x.size());
  auto in_place = x;
  forward_f32(silu, x.data(), x.size(), 2, 1, apart.data(), nullptr);
  forward_f32(silu, in_place.data(), x.size(), 2, 1, in_place.data(), nullptr);
  EXPECT_EQ(in_place, apart);
  std::vector<GradientSums> sums(block_count(x.size()));
  auto g = normal_draws(5000, 1);
  std::vector<float> dx(x.size());
  backward_f32(silu, x.data(), g.data(), x.size(), 2, dx.data(), sums.data());
  backward_f32(silu, x.data(), g.data(), x.size(), 2, g.data(), sums.data());
  EXPECT_EQ(g, dx);
}

INSTANTIATE_TEST_SUITE_P(Every, Float32, testing::ValuesIn(instruction_sets()),
                         [](const auto& info) { return info.param; });

TEST(InstructionSet, RefusesAnUnknownNameAndNamesTheKnown) {
  try {
    use_instruction_set("MMX");
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("'MMX'"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find(instruction_set()), std::string::npos);
  }
}

}  // namespace
}  // namespace anact::kernels
