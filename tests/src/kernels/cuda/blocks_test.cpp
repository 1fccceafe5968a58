// Sizes, sums, memory and order: every element type.

#include <cstring>
#include <span>

#include "kernels/cuda/emulated_device.h"
#include "kernels/instruction_sets.h"
#include "kernels/long_moments.h"
#include "kernels/ulp.h"

namespace anact::kernels::cuda::emulation {
namespace {

template <typename T>
void expect_whole_result(const Activation& activation, std::size_t size, std::size_t misplaced) {
  SCOPED_TRACE(activation.to_string() + " of " + std::to_string(size) + " after " + std::to_string(misplaced));
  using A = ArithmeticOf<T>;
  const auto exact = rounded<A>(activation);
  // One element more at the end, which must stay.
  const auto x = narrow<T>(normal_draws(misplaced + size + 1, 0, 2));
  const auto g = narrow<T>(normal_draws(misplaced + size + 2));
  ForwardPass<T> forward(x, misplaced);
  BackwardPass<T> backward(x, {g.begin(), g.end() - 1}, misplaced);
  const T guard = forward.y[0];
  forward.map = backward.map = {1.5, -0.25, 0};
  auto forward_arguments = forward.arguments(activation);
  auto backward_arguments = backward.arguments(activation);
  forward_arguments.size = backward_arguments.size = size;
  const auto kernels = kernels_of(kType<T>, activation.kind);
  run_cleanly({{shaped(kernels.apply_measure, Kernel::apply_measure, kType<T>, size, forward_arguments)},
               {shaped(kernels.backward, Kernel::backward, kType<T>, size, backward_arguments)}});
  EXPECT_EQ(forward.workspace.ticket(), 0U);

  constexpr double kError = 16 * kArithmetic<T> + kStorage<T>;
  double gradient = 0;
  double gradient_value = 0;
  double absolute = 0;
  for (std::size_t i = 0; i < misplaced; ++i) {
    ASSERT_EQ(bits_of(forward.y[i]), bits_of(guard));
    ASSERT_EQ(bits_of(backward.dx[i]), bits_of(guard));
  }
  for (std::size_t i = misplaced; i < misplaced + size; ++i) {
    const double f = exact.value(widen(x[i]));
    const double slope = exact.derivative(widen(x[i]));
    const double gi = widen(g[i]);
    ASSERT_NEAR(widen(forward.y[i]), 1.5 * f - 0.25, kError * (1 + 1.5 * std::abs(f)) + kLeast<T>) << i;
    ASSERT_NEAR(widen(backward.dx[i]), 1.5 * gi * slope,
                kError * std::abs(gi) * (1 + 1.5 * std::abs(slope)) + kLeast<T>)
        << i;
    gradient += gi;
    gradient_value += gi * f;
    absolute += std::abs(gi * f) + std::abs(gi);
  }
  EXPECT_EQ(bits_of(forward.y[misplaced + size]), bits_of(guard));
  EXPECT_EQ(bits_of(backward.dx[misplaced + size]), bits_of(guard));

  const auto all = to_moments(forward.moments.data());
  const double unit = 8 * kArithmetic<T>;
  EXPECT_EQ(all.count, static_cast<double>(size));
  EXPECT_NEAR(backward.sums[0], gradient_value, unit * absolute);
  EXPECT_NEAR(backward.sums[1], gradient, unit * absolute);
  EXPECT_EQ(backward.sums[2], 0);
  if (size == 0) {
    for (const double moment : forward.moments) EXPECT_EQ(moment, 0);
    return;
  }
  const auto expected = long_moments<T>(exact, std::span(x).subspan(misplaced, size));
  const auto n = static_cast<double>(size);
  EXPECT_NEAR(all.input_mean, static_cast<double>(expected.mean), 4 * unit);
  EXPECT_NEAR(all.input_m2, static_cast<double>(expected.m2), unit * (n + static_cast<double>(expected.m2)));
  const double largest = n + static_cast<double>(expected.output_square_sum + expected.slope_square_sum);
  EXPECT_NEAR(all.output_sum, static_cast<double>(expected.output_sum), unit * largest);
  EXPECT_NEAR(all.output_square_sum, static_cast<double>(expected.output_square_sum), unit * largest);
  EXPECT_NEAR(all.slope_square_sum, static_cast<double>(expected.slope_square_sum), unit * largest);
}

TEST(CudaBlocks, EverySizeGivesTheWholeResultAndWritesNothingElse) {
  for_each_type([]<typename T>(T) {
    for (const auto& activation : activations()) {
      for (const std::size_t size : {0, 1, 7, 31, 32, 33, 4099}) expect_whole_result<T>(activation, size, 0);
    }
    const auto silu = make_activation(ActivationKind::silu);
    for (const std::size_t size : {2, 3, 8, 1023, 1024, 4095, 4096, 4097, 100003}) {
      expect_whole_result<T>(silu, size, 0);
    }
  });
}

TEST(CudaBlocks, AnyAlignmentGivesTheWholeResult) {
  for_each_type([]<typename T>(T) {
    for (const std::size_t misplaced : {1, 2, 3, 5}) {
      for (const std::size_t size : {1, 33, 4099}) {
        expect_whole_result<T>(make_activation(ActivationKind::gelu), size, misplaced);
      }
    }
  });
}

TEST(SlowCudaBlocks, EveryActivationOfManyElements) {
  for_each_type([]<typename T>(T) {
    for (const auto& activation : activations()) expect_whole_result<T>(activation, 131077, 3);
  });
}

TEST(CudaBlocks, VarianceSurvivesALargeMeanAndAnOutlierAtTheFront) {
  const auto relu = make_activation(ActivationKind::relu);
  for_each_type([&]<typename T>(T) {
    for (const float front : {1000.0F, 2000.0F}) {
      ForwardPass<T> pass(narrow<T>(normal_draws(20000, 1000.0F, 1.0F)));
      pass.x[0] = narrow<T>(front);
      const auto expected = long_moments<T>(relu, std::span<const T>(pass.x));
      pass.run(relu, Kernel::measure);
      EXPECT_NEAR(pass.moments[1], static_cast<double>(expected.mean), 1e-5);
      EXPECT_NEAR(pass.moments[2] / static_cast<double>(expected.m2), 1, 2e-5);
    }
  });
}

// In a constant tensor rounding may go below zero.
TEST(CudaBlocks, AConstantHasNoVariance) {
  for_each_type([]<typename T>(T) {
    ForwardPass<T> pass(std::vector<T>(30001, narrow<T>(0.1)));
    pass.run(make_activation(ActivationKind::silu), Kernel::measure);
    EXPECT_GE(pass.moments[2], 0);
    EXPECT_LE(pass.moments[2], 1e-9);
  });
}

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// The blocks' order, the threads' order and where the tensors lie are different each time.
TEST(CudaBlocks, RepeatedRunsGiveEqualBits) {
  for_each_type([]<typename T>(T) {
    const auto gelu = make_activation(ActivationKind::gelu);
    const auto x = narrow<T>(normal_draws(50021, 0.5F));
    const auto g = narrow<T>(normal_draws(50021));
    ForwardPass<T> first(x);
    BackwardPass<T> first_back(x, g);
    first.run(gelu, Kernel::apply_measure);
    first_back.run(gelu);
    for (std::size_t misplaced = 0; misplaced < 10; ++misplaced) {
      auto shifted_x = x;
      auto shifted_g = g;
      shifted_x.insert(shifted_x.begin(), misplaced, T{});
      shifted_g.insert(shifted_g.begin(), misplaced, T{});
      ForwardPass<T> again(shifted_x, misplaced);
      BackwardPass<T> again_back(shifted_x, shifted_g, misplaced);
      again.run(gelu, Kernel::apply_measure);
      again_back.run(gelu);
      EXPECT_TRUE(same(first.moments, again.moments));
      EXPECT_TRUE(same(first_back.sums, again_back.sums));
      const auto from = static_cast<std::ptrdiff_t>(misplaced);
      EXPECT_EQ(bits_of(first.y), bits_of(std::vector<T>(again.y.begin() + from, again.y.end())));
      EXPECT_EQ(bits_of(first_back.dx), bits_of(std::vector<T>(again_back.dx.begin() + from, again_back.dx.end())));
    }
  });
}

TEST(CudaBlocks, SumsAloneAreTheSumsWithTheOutput) {
  for_each_type([]<typename T>(T) {
    const auto x = narrow<T>(normal_draws(10001));
    for (const auto& activation : activations()) {
      ForwardPass<T> both(x);
      ForwardPass<T> alone(x);
      ForwardPass<T> written(x);
      both.run(activation, Kernel::apply_measure);
      alone.run(activation, Kernel::measure);
      written.run(activation, Kernel::apply);
      EXPECT_TRUE(same(both.moments, alone.moments)) << activation.to_string();
      EXPECT_EQ(bits_of(both.y), bits_of(written.y)) << activation.to_string();
    }
  });
}

TEST(CudaBlocks, BackwardMayWriteOverTheGradient) {
  for_each_type([]<typename T>(T) {
    const auto silu = make_activation(ActivationKind::silu);
    const auto x = narrow<T>(normal_draws(5003));
    const auto g = narrow<T>(normal_draws(5003, 1));
    BackwardPass<T> apart(x, g);
    apart.run(silu);
    BackwardPass<T> over(x, g);
    auto arguments = over.arguments(silu);
    arguments.dx = over.g.data();
    run_cleanly({{shaped(kernels_of(kType<T>, silu.kind).backward, Kernel::backward, kType<T>, x.size(), arguments)}});
    EXPECT_EQ(bits_of(apart.dx), bits_of(over.g));
    EXPECT_TRUE(same(apart.sums, over.sums));
  });
}

TEST(CudaBlocks, ANonFiniteElementMakesTheMomentsNonFinite) {
  for_each_type([]<typename T>(T) {
    for (const double poison : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      for (const std::size_t at : {0, 4000, 20000}) {
        auto x = narrow<T>(normal_draws(20001));
        x[at] = narrow<T>(poison);
        for (const auto kind : {ActivationKind::relu, ActivationKind::silu, ActivationKind::sigmoid}) {
          ForwardPass<T> pass(x);
          pass.run(make_activation(kind), Kernel::measure);
          EXPECT_FALSE(to_statistics(to_moments(pass.moments.data())).is_finite());
        }
      }
    }
  });
}

TEST(CudaBlocks, MeasuringStopsOnceEnoughBatchesWereSeen) {
  const auto silu = make_activation(ActivationKind::silu);
  for (const std::int64_t batches : {0, 9, 10, 11}) {
    ForwardPass<float> pass(normal_draws(20001));
    auto arguments = pass.arguments(silu);
    arguments.unless = &batches;
    arguments.limit = kStartBatches;
    run_cleanly({{shaped(kernels_of(ElementType::float32, silu.kind).measure, Kernel::measure, ElementType::float32,
                         pass.size(), arguments)}});
    EXPECT_EQ(pass.moments[0], batches < kStartBatches ? 20001 : 0);
    EXPECT_EQ(same(pass.moments, std::vector<double>(6, 0)), batches >= kStartBatches);
  }
}

// ---- The order of blocks -------------------------------------------------------------------------------------------

TEST(CudaOrder, TheTicketServesHundredsOfLaunches) {
  const auto silu = make_activation(ActivationKind::silu);
  const auto kernel = kernels_of(ElementType::float32, silu.kind).measure;
  ForwardPass<float> pass(normal_draws(7000));
  std::vector<Launch> launches;
  // Grids of one to three blocks, by turns.
  for (int i = 0; i < 400; ++i) {
    auto arguments = pass.arguments(silu);
    arguments.size = static_cast<std::uint64_t>(i) % 4 * 2048 + 100;
    launches.push_back(shaped(kernel, Kernel::measure, ElementType::float32, arguments.size, arguments));
  }
  run_cleanly({launches});
  EXPECT_EQ(pass.workspace.ticket(), 0U);
  EXPECT_EQ(pass.moments[0], 3 * 2048 + 100);
}

TEST(CudaOrder, TwoStreamsWithAWorkspaceEachDoNotDisturbOneAnother) {
  const auto silu = make_activation(ActivationKind::silu);
  const auto x = normal_draws(9001);
  ForwardPass<float> alone(x);
  alone.run(silu, Kernel::measure);
  ForwardPass<float> first(x);
  ForwardPass<float> second(x);
  for (int i = 0; i < 20; ++i) {
    run_cleanly({std::vector<Launch>(5, first.launch(silu, Kernel::apply_measure)),
                 std::vector<Launch>(5, second.launch(silu, Kernel::apply_measure))});
    EXPECT_TRUE(same(first.moments, alone.moments));
    EXPECT_TRUE(same(second.moments, alone.moments));
  }
}

// That the emulation sees what is wrong: each of these is a kernel that would fail on a device.

TEST(CudaMutation, AWorkspaceOfTwoStreamsIsSeen) {
  const auto silu = make_activation(ActivationKind::silu);
  ForwardPass<float> first(normal_draws(9001));
  ForwardPass<float> second(normal_draws(9001));
  auto arguments = second.arguments(silu);
  arguments.workspace = first.workspace.data();
  const auto launch = shaped(kernels_of(ElementType::float32, silu.kind).apply_measure, Kernel::apply_measure,
                             ElementType::float32, second.size(), arguments);
  EXPECT_FALSE(run({{first.launch(silu, Kernel::apply_measure)}, {launch}}, next_seed()).errors.empty());
}

TEST(CudaMutation, ATicketThatDoesNotResetIsSeen) {
  const auto silu = make_activation(ActivationKind::silu);
  ForwardPass<float> pass(normal_draws(7000));
  const auto launch = pass.launch(silu, Kernel::measure);
  EXPECT_TRUE(run({{launch}}, next_seed(), {.atomic_does_not_wrap = true}).errors.empty());
  EXPECT_NE(pass.workspace.ticket(), 0U);
  pass.moments.assign(6, -1);
  EXPECT_TRUE(run({{launch}}, next_seed()).errors.empty());
  EXPECT_NE(pass.moments[0], 7000);
}

TEST(CudaMutation, EveryBarrierAndFenceOfMeasuringIsNeeded) {
  ForwardPass<float> pass(normal_draws(9001));
  for (const auto kernel : {Kernel::measure, Kernel::apply_measure}) {
    expect_all_needed(
        [&] {
          pass.workspace = Workspace();
          return pass.launch(make_activation(ActivationKind::silu), kernel);
        },
        5);
  }
}

TEST(CudaMutation, EveryBarrierAndFenceOfBackwardIsNeeded) {
  BackwardPass<float> pass(normal_draws(9001), normal_draws(9001, 1));
  expect_all_needed(
      [&] {
        pass.workspace = Workspace();
        return pass.launch(make_activation(ActivationKind::silu));
      },
      3);
}

}  // namespace
}  // namespace anact::kernels::cuda::emulation
