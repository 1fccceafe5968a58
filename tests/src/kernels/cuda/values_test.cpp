// f and f' of every kernel against the double-precision specification, and against the kernels of the CPU.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cuda/emulated_device.h"
#include "kernels/instruction_sets.h"
#include "kernels/ulp.h"

namespace anact::kernels::cuda::emulation {
namespace {

// What kernels::evaluate gives on the CPU.
template <typename T>
Outputs<T> evaluate_emulated(const Activation& activation, const std::vector<T>& x) {
  ForwardPass<T> forward(x);
  forward.run(activation, Kernel::apply);
  BackwardPass<T> backward(x, std::vector<T>(x.size(), T{1}));
  backward.run(activation);
  return {forward.y, backward.dx};
}

template <typename T>
void expect_within_bounds(const std::vector<T>& x, double factor, double extra) {
  for (const auto& activation : activations()) {
    SCOPED_TRACE(activation.to_string());
    const auto& bound = accuracy(activation.kind);
    const auto exact = specified(activation, x);
    const auto got = evaluate_emulated(activation, x);
    const auto value = worst_error(x, exact.value, got.value, bound.value_floor);
    const auto slope = worst_error(x, exact.slope, got.slope, bound.slope_floor);
    EXPECT_LE(value.ulp, factor * bound.value_ulp + extra) << "at " << value.at;
    EXPECT_LE(slope.ulp, factor * bound.slope_ulp + extra) << "derivative at " << slope.at;
    // Each is within the bound of the exact one.
    const auto cpu = evaluate(activation, x, T{1});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double between = 2 * (factor * bound.value_ulp + extra) + 1;
      ASSERT_LE(ulp_error<T>(cpu.value[i], got.value[i], bound.value_floor), between) << x[i];
      const double slopes_between = 2 * (factor * bound.slope_ulp + extra) + 1;
      ASSERT_LE(ulp_error<T>(cpu.slope[i], got.slope[i], bound.slope_floor), slopes_between) << x[i];
    }
  }
}

std::vector<float> floats(std::uint64_t stride, int draws) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += stride) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(value)) x.push_back(value);
  }
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(-24, 24);
  for (int i = 0; i < draws; ++i) x.push_back(uniform(generator));
  return x;
}

std::vector<double> doubles(int patterns, int draws) {
  std::vector<double> x;
  constexpr std::uint64_t kStride = 0x0003'1415'9265'3589;
  for (int i = 0; i < patterns; ++i) {
    const auto value = std::bit_cast<double>(static_cast<std::uint64_t>(i) * kStride);
    if (std::isfinite(value)) x.push_back(value);
  }
  std::mt19937_64 generator(7);
  std::uniform_real_distribution<double> uniform(-40, 40);
  for (int i = 0; i < draws; ++i) x.push_back(uniform(generator));
  for (double value = -800; value <= 800; value += 1.1) x.push_back(value);
  return x;
}

// Strides that are prime, so that every exponent and sign comes with varied mantissas.
TEST(CudaValues, FloatStaysWithinTheStatedBound) { expect_within_bounds(floats(600011, 8000), 1, 0); }
TEST(CudaValues, DoubleStaysWithinTwiceTheBoundPlusTwo) { expect_within_bounds(doubles(4000, 8000), 2, 2); }
TEST(SlowCudaValues, FloatStaysWithinTheStatedBoundAtMoreOfThem) { expect_within_bounds(floats(60013, 30000), 1, 0); }
TEST(SlowCudaValues, DoubleStaysWithinTheBoundAtMoreOfThem) { expect_within_bounds(doubles(20000, 20000), 2, 2); }

template <typename T>
int wrong(const std::vector<float>& exact, const std::vector<T>& got) {
  int count = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool right = std::isnan(exact[i]) ? std::isnan(widen(got[i])) : got[i].bits == narrow<T>(exact[i]).bits;
    if (!right && ++count <= 3) ADD_FAILURE() << exact[i] << " became " << widen(got[i]);
  }
  return count;
}

// Every pattern of 16 bits, with a map that makes ties, subnormal numbers, and numbers beyond the largest.
template <typename T>
void expect_float_rounded(const Activation& activation, double scale) {
  SCOPED_TRACE(activation.to_string() + " times " + std::to_string(scale));
  std::vector<T> x;
  for (int bits = 0; bits < 65536; ++bits) x.push_back({static_cast<std::uint16_t>(bits)});
  std::vector<float> wide;
  for (const T element : x) wide.push_back(widen(element));
  ForwardPass<T> forward(x);
  ForwardPass<float> forward_wide(wide);
  forward.map = forward_wide.map = {scale, -0.25, 0};
  forward.run(activation, Kernel::apply);
  forward_wide.run(activation, Kernel::apply);
  EXPECT_EQ(wrong(forward_wide.y, forward.y), 0);
  BackwardPass<T> backward(x, std::vector<T>(x.size(), narrow<T>(1.25)));
  BackwardPass<float> backward_wide(wide, std::vector<float>(x.size(), 1.25F));
  backward.map = backward_wide.map = {scale, -0.25, 0};
  backward.run(activation);
  backward_wide.run(activation);
  EXPECT_EQ(wrong(backward_wide.dx, backward.dx), 0);
}

TEST(CudaValues, SixteenBitsAreTheFloatRounded) {
  for (const auto& activation : activations()) {
    expect_float_rounded<BFloat16>(activation, 1.5);
    expect_float_rounded<Float16>(activation, 1.5);
  }
  const auto identity = make_activation(ActivationKind::identity);
  for (const double scale : {0.75, 1.00390625, 0x1p-5, 0x1.8p-10, 0x1p-24, 1e4, 0x1p-120, 0x1p120, std::nan("")}) {
    expect_float_rounded<BFloat16>(identity, scale);
    expect_float_rounded<Float16>(identity, scale);
  }
}

template <typename T>
void expect_special_values() {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  constexpr T kSubnormal = std::numeric_limits<T>::denorm_min();
  const std::vector<T> x{std::numeric_limits<T>::quiet_NaN(),
                         kInfinity,
                         -kInfinity,
                         T{0},
                         -T{0},
                         kSubnormal,
                         -kSubnormal,
                         T{100},
                         -T{100}};
  for (const auto& activation : activations()) {
    SCOPED_TRACE(activation.to_string());
    const auto exact = rounded<T>(activation);
    const auto [value, slope] = evaluate_emulated(activation, x);
    EXPECT_TRUE(std::isnan(value[0]));
    if (activation_info(activation.kind).smooth && activation.kind != ActivationKind::identity) {
      EXPECT_TRUE(std::isnan(slope[0]));
    }
    for (std::size_t i = 1; i < x.size(); ++i) {
      const bool infinite = std::isinf(x[i]);
      if (infinite && std::isnan(value[i])) continue;
      EXPECT_LE(ulp_error(exact.value(x[i]), value[i], 1.0), 8) << x[i];
      if (infinite && std::isnan(slope[i])) continue;
      EXPECT_LE(ulp_error(exact.derivative(x[i]), slope[i], 1.0), 8) << x[i];
    }
  }
}

TEST(CudaValues, SpecialValuesGiveTheLimitOrANaNAndANaNStays) {
  expect_special_values<float>();
  expect_special_values<double>();
}

}  // namespace
}  // namespace anact::kernels::cuda::emulation
