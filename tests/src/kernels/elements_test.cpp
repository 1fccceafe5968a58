// The 16-bit types: results are those of float, rounded to nearest, for every input.

#include "kernels/elements.h"

#include "kernels/instruction_sets.h"

namespace anact::kernels {
namespace {

using ElementsTest = EveryInstructionSet;

template <typename T>
std::vector<T> all_patterns() {
  std::vector<T> all;
  for (int bits = 0; bits < 65536; ++bits) all.push_back({static_cast<std::uint16_t>(bits)});
  return all;
}

template <typename T>
bool is_nan(T element) {
  return std::isnan(widen(element));
}

// The number of elements of `got` that are not `exact` rounded.
template <typename T>
int wrong(const std::vector<float>& exact, const std::vector<T>& got) {
  int count = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool right = std::isnan(exact[i]) ? is_nan(got[i]) : got[i].bits == narrow<T>(exact[i]).bits;
    if (!right && ++count <= 3) {
      ADD_FAILURE() << exact[i] << " became " << widen(got[i]) << ", not " << widen(narrow<T>(exact[i]));
    }
  }
  return count;
}

template <typename T>
void expect_float_rounded(const Activation& activation, double scale, double offset) {
  SCOPED_TRACE(activation.to_string() + " times " + std::to_string(scale));
  const auto x = all_patterns<T>();
  std::vector<float> x_wide;
  for (const T element : x) x_wide.push_back(widen(element));
  const std::vector<T> g(x.size(), narrow<T>(1.25));
  const std::vector<float> g_wide(x.size(), 1.25F);
  std::vector<T> y(x.size());
  std::vector<T> dx(x.size());
  std::vector<float> y_wide(x.size());
  std::vector<float> dx_wide(x.size());
  std::vector<GradientSums> sums(block_count(x.size()));
  forward(activation, x.data(), x.size(), scale, offset, y.data(), nullptr);
  forward(activation, x_wide.data(), x.size(), scale, offset, y_wide.data(), nullptr);
  backward(activation, x.data(), g.data(), x.size(), scale, dx.data(), sums.data());
  backward(activation, x_wide.data(), g_wide.data(), x.size(), scale, dx_wide.data(), sums.data());
  EXPECT_EQ(wrong(y_wide, y), 0);
  EXPECT_EQ(wrong(dx_wide, dx), 0);
}

TEST_P(ElementsTest, EveryActivationIsTheFloatResultRounded) {
  for (const auto& activation : activations()) {
    expect_float_rounded<BFloat16>(activation, 1.5, -0.25);
    expect_float_rounded<Float16>(activation, 1.5, -0.25);
  }
}

// Factors that make ties, subnormal numbers, and numbers beyond the largest.
TEST_P(ElementsTest, RoundingIsToNearestTiesToEvenOverTheWholeRange) {
  const auto identity = make_activation(ActivationKind::identity);
  for (const double scale : {1.0, 0.75, 1.5, 1.00390625, 0x1p-5, 0x1.8p-10, 0x1p-24, 1e4, 0x1p-120, 0x1p120}) {
    expect_float_rounded<BFloat16>(identity, scale, 0);
    expect_float_rounded<Float16>(identity, scale, 0);
  }
}

// A payload of ones, rounded as if it were a number, would become a zero.
TEST_P(ElementsTest, AFactorThatIsNotANumberGivesNothingElse) {
  const auto nan = std::bit_cast<double>(~std::uint64_t{0} >> 1);
  const auto relu = make_activation(ActivationKind::relu);
  expect_float_rounded<BFloat16>(relu, nan, 0);
  expect_float_rounded<Float16>(relu, nan, 0);
}

template <typename T>
void expect_round_trip() {
  const auto x = all_patterns<T>();
  std::vector<T> y(x.size());
  forward(parse_activation("leaky_relu(1)"), x.data(), x.size(), 1, 0, y.data(), nullptr);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (is_nan(x[i])) {
      ASSERT_TRUE(is_nan(y[i])) << i;
    } else {
      // Adding the offset makes -0 a 0.
      ASSERT_EQ(y[i].bits, x[i].bits == 0x8000 ? 0 : x[i].bits);
    }
  }
}

TEST_P(ElementsTest, EveryNumberSurvivesTheRoundTrip) {
  expect_round_trip<BFloat16>();
  expect_round_trip<Float16>();
}

ANACT_EVERY_INSTRUCTION_SET(ElementsTest);

}  // namespace
}  // namespace anact::kernels
