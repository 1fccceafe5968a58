// Sizes, sums and memory: every element type under every instruction set.

#include <cstring>
#include <memory>
#include <span>

#include "kernels/elements.h"
#include "kernels/instruction_sets.h"
#include "kernels/long_moments.h"
#include "kernels/ulp.h"

namespace anact::kernels {
namespace {

// Calls test(T()) for each element type.
template <typename Test>
void for_each_element_type(Test test) {
  {
    SCOPED_TRACE("float");
    test(float{});
  }
  {
    SCOPED_TRACE("double");
    test(double{});
  }
  {
    SCOPED_TRACE("bfloat16");
    test(BFloat16{});
  }
  {
    SCOPED_TRACE("float16");
    test(Float16{});
  }
}

Moments total(const std::vector<Moments>& parts) {
  Moments all;
  for (const auto& part : parts) all.merge(part);
  return all;
}

using BlocksTest = EveryInstructionSet;

TEST_P(BlocksTest, IsTheInstructionSetAskedFor) { EXPECT_EQ(instruction_set(), GetParam()); }

template <typename T>
void expect_whole_result(const Activation& activation, std::size_t size) {
  SCOPED_TRACE(activation.to_string() + " of " + std::to_string(size));
  using A = ArithmeticOf<T>;
  const auto exact = rounded<A>(activation);
  const auto x = narrow<T>(normal_draws(size, 0, 2));
  const auto g = narrow<T>(normal_draws(size + 1));
  const auto guard = narrow<T>(12345);
  std::vector<T> y(size + 1, guard);
  std::vector<T> dx(size + 1, guard);
  std::vector<Moments> moments(block_count(size));
  std::vector<GradientSums> sums(block_count(size));
  forward(activation, x.data(), size, 1.5, -0.25, y.data(), moments.data());
  backward(activation, x.data(), g.data(), size, 1.5, dx.data(), sums.data());
  double gradient = 0;
  double gradient_value = 0;
  double absolute = 0;
  // The errors of f, f' and the map, and that of storing the result.
  constexpr double kError = 16 * kArithmetic<T> + kStorage<T>;
  for (std::size_t i = 0; i < size; ++i) {
    const double f = exact.value(widen(x[i]));
    const double slope = exact.derivative(widen(x[i]));
    const double gi = widen(g[i]);
    ASSERT_NEAR(widen(y[i]), 1.5 * f - 0.25, kError * (1 + 1.5 * std::abs(f)) + kLeast<T>) << i;
    ASSERT_NEAR(widen(dx[i]), 1.5 * gi * slope, kError * std::abs(gi) * (1 + 1.5 * std::abs(slope)) + kLeast<T>) << i;
    gradient += gi;
    gradient_value += gi * f;
    absolute += std::abs(gi * f) + std::abs(gi);
  }
  EXPECT_EQ(bits_of(y[size]), bits_of(guard));
  EXPECT_EQ(bits_of(dx[size]), bits_of(guard));

  const auto all = total(moments);
  const auto expected = long_moments<T>(exact, x);
  const auto n = static_cast<double>(size);
  const double unit = 8 * kArithmetic<T>;
  EXPECT_EQ(all.count, n);
  EXPECT_NEAR(all.input_mean, static_cast<double>(expected.mean), 4 * unit);
  EXPECT_NEAR(all.input_m2, static_cast<double>(expected.m2), unit * (n + static_cast<double>(expected.m2)));
  const double largest = n + static_cast<double>(expected.output_square_sum + expected.slope_square_sum);
  EXPECT_NEAR(all.output_sum, static_cast<double>(expected.output_sum), unit * largest);
  EXPECT_NEAR(all.output_square_sum, static_cast<double>(expected.output_square_sum), unit * largest);
  EXPECT_NEAR(all.slope_square_sum, static_cast<double>(expected.slope_square_sum), unit * largest);
  GradientSums sum;
  for (const auto& part : sums) {
    sum.gradient += part.gradient;
    sum.gradient_value += part.gradient_value;
  }
  EXPECT_NEAR(sum.gradient, gradient, unit * absolute);
  EXPECT_NEAR(sum.gradient_value, gradient_value, unit * absolute);
}

TEST_P(BlocksTest, EverySizeGivesTheWholeResultAndWritesNothingElse) {
  for_each_element_type([]<typename T>(T) {
    for (const auto& activation : activations()) {
      for (const std::size_t size : {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 127, 4099}) {
        expect_whole_result<T>(activation, size);
      }
    }
    const auto silu = make_activation(ActivationKind::silu);
    for (const std::size_t size : {4095, 4096, 4097, 12289}) expect_whole_result<T>(silu, size);
  });
}

TEST_P(BlocksTest, NoElementsGiveNoBlocks) {
  for_each_element_type([]<typename T>(T) {
    forward(make_activation(ActivationKind::gelu), static_cast<const T*>(nullptr), 0, 1, 0, static_cast<T*>(nullptr),
            nullptr);
    backward(make_activation(ActivationKind::gelu), static_cast<const T*>(nullptr), static_cast<const T*>(nullptr), 0,
             1, static_cast<T*>(nullptr), nullptr);
  });
}

TEST_P(BlocksTest, VarianceSurvivesALargeMeanAndAnOutlierAtTheFront) {
  const auto relu = make_activation(ActivationKind::relu);
  for_each_element_type([&]<typename T>(T) {
    auto x = narrow<T>(normal_draws(20000, 1000.0F, 1.0F));
    for (const float front : {1000.0F, 2000.0F}) {
      x[0] = narrow<T>(front);
      const auto expected = long_moments<T>(relu, x);
      std::vector<Moments> moments(block_count(x.size()));
      forward(relu, x.data(), x.size(), 1, 0, static_cast<T*>(nullptr), moments.data());
      const auto all = total(moments);
      EXPECT_NEAR(all.input_mean, static_cast<double>(expected.mean), 1e-5);
      EXPECT_NEAR(all.input_m2 / static_cast<double>(expected.m2), 1, 2e-5);
    }
  });
}

bool same(const Moments& a, const Moments& b) { return std::memcmp(&a, &b, sizeof(Moments)) == 0; }

TEST_P(BlocksTest, TheCallersSplitIntoBlocksDoesNotMatter) {
  for_each_element_type([]<typename T>(T) {
    const auto x = narrow<T>(normal_draws(3 * kBlockSize + 77));
    const auto g = narrow<T>(normal_draws(x.size() + 1));
    for (const auto& activation : activations()) {
      std::vector<T> y(x.size());
      std::vector<T> dx(x.size());
      std::vector<T> y_apart(x.size());
      std::vector<T> dx_apart(x.size());
      std::vector<Moments> whole(4);
      std::vector<Moments> parts(4);
      std::vector<GradientSums> sums(4);
      std::vector<GradientSums> sums_apart(4);
      forward(activation, x.data(), x.size(), 1.1, 0.1, y.data(), whole.data());
      backward(activation, x.data(), g.data(), x.size(), 1.1, dx.data(), sums.data());
      for (std::size_t block : {2, 0, 3, 1}) {
        const std::size_t at = block * kBlockSize;
        const std::size_t length = std::min(kBlockSize, x.size() - at);
        forward(activation, x.data() + at, length, 1.1, 0.1, y_apart.data() + at, &parts[block]);
        backward(activation, x.data() + at, g.data() + at, length, 1.1, dx_apart.data() + at, &sums_apart[block]);
      }
      EXPECT_EQ(bits_of(y), bits_of(y_apart));
      EXPECT_EQ(bits_of(dx), bits_of(dx_apart));
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(same(whole[i], parts[i])) << activation.to_string();
        EXPECT_EQ(sums[i].gradient, sums_apart[i].gradient);
        EXPECT_EQ(sums[i].gradient_value, sums_apart[i].gradient_value);
      }
    }
  });
}

TEST_P(BlocksTest, SumsAloneAreTheSumsWithTheOutput) {
  for_each_element_type([]<typename T>(T) {
    const auto x = narrow<T>(normal_draws(10001));
    for (const auto& activation : activations()) {
      std::vector<Moments> alone(block_count(x.size()));
      std::vector<Moments> both(block_count(x.size()));
      std::vector<T> y(x.size());
      std::vector<T> written(x.size());
      forward(activation, x.data(), x.size(), 1, 0, static_cast<T*>(nullptr), alone.data());
      forward(activation, x.data(), x.size(), 1, 0, y.data(), both.data());
      forward(activation, x.data(), x.size(), 1, 0, written.data(), nullptr);
      EXPECT_EQ(bits_of(y), bits_of(written));
      for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same(alone[i], both[i])) << activation.to_string();
    }
  });
}

TEST_P(BlocksTest, StreamingAndInPlaceGiveTheSameBits) {
  constexpr std::size_t kSize = 10001;
  for_each_element_type([]<typename T>(T) {
    const auto x = narrow<T>(normal_draws(kSize));
    const auto g = narrow<T>(normal_draws(kSize, 0.5F));
    std::vector<Moments> moments(block_count(kSize));
    std::vector<GradientSums> sums(block_count(kSize));
    struct alignas(64) Aligned {
      T elements[kSize + 8];
    };
    const auto storage = std::make_unique<Aligned>();
    for (const auto& activation : activations()) {
      std::vector<T> y(kSize);
      std::vector<T> dx(kSize);
      forward(activation, x.data(), kSize, 2, 1, y.data(), moments.data());
      backward(activation, x.data(), g.data(), kSize, 2, dx.data(), sums.data());
      auto in_place = x;
      forward(activation, in_place.data(), kSize, 2, 1, in_place.data(), moments.data());
      EXPECT_EQ(bits_of(in_place), bits_of(y)) << activation.to_string();
      in_place = g;
      backward(activation, x.data(), in_place.data(), kSize, 2, in_place.data(), sums.data());
      EXPECT_EQ(bits_of(in_place), bits_of(dx)) << activation.to_string();
      for (const std::size_t misplaced : {0, 3}) {
        T* out = storage->elements + misplaced;
        forward(activation, x.data(), kSize, 2, 1, out, moments.data(), true);
        EXPECT_EQ(bits_of(std::vector<T>(out, out + kSize)), bits_of(y)) << activation.to_string();
        backward(activation, x.data(), g.data(), kSize, 2, out, sums.data(), true);
        EXPECT_EQ(bits_of(std::vector<T>(out, out + kSize)), bits_of(dx)) << activation.to_string();
      }
    }
  });
}

TEST_P(BlocksTest, ANonFiniteElementMakesItsBlockNonFiniteAndNoOther) {
  for_each_element_type([]<typename T>(T) {
    for (const double poison : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      auto x = narrow<T>(normal_draws(3 * kBlockSize));
      x[kBlockSize + 100] = narrow<T>(poison);
      for (const auto& activation : activations()) {
        std::vector<Moments> moments(3);
        forward(activation, x.data(), x.size(), 1, 0, static_cast<T*>(nullptr), moments.data());
        EXPECT_TRUE(to_statistics(moments[0]).is_finite());
        EXPECT_FALSE(to_statistics(moments[1]).is_finite()) << activation.to_string();
        EXPECT_TRUE(to_statistics(moments[2]).is_finite());
        EXPECT_FALSE(to_statistics(total(moments)).is_finite());
      }
    }
  });
}

ANACT_EVERY_INSTRUCTION_SET(BlocksTest);

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
