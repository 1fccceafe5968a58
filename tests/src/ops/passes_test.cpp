// The memory of passes that run again.

#include "ops/passes.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "ops/tensors.h"

namespace anact::ops {
namespace {

Moments moments(double scale, double count = 100) {
  return {.count = count,
          .input_mean = 0.1 * scale,
          .input_m2 = 90 * scale,
          .output_sum = 3 * scale,
          .output_square_sum = 40 * scale,
          .slope_square_sum = 30 * scale};
}

Factors with_scale(double scale) { return {.scale = scale, .offset = -1, .centre = 0.5, .scale_slope = 0.3}; }

double found(const at::Tensor& running, const Moments& of) {
  const auto factors = find_pass(running, of);
  return factors ? factors->scale : -1;
}

TEST(Passes, FindsTheOneWithTheSameMomentsAndOfThoseTheLatest) {
  const auto running = at::zeros({});
  remember_pass(running, moments(1), with_scale(1));
  remember_pass(running, moments(2), with_scale(2));
  remember_pass(running, moments(3), with_scale(3));
  EXPECT_EQ(found(running, moments(2)), 2);
  remember_pass(running, moments(2), with_scale(4));
  EXPECT_EQ(found(running, moments(2)), 4);
  EXPECT_EQ(found(running, moments(1)), 1);
  const auto factors = find_pass(running, moments(3));
  EXPECT_EQ(factors->offset, -1);
  EXPECT_EQ(factors->centre, 0.5);
  EXPECT_EQ(factors->scale_slope, 0.3);
}

TEST(Passes, AllowsForRoundingButNotForAnotherBatch) {
  const auto running = at::zeros({});
  remember_pass(running, moments(1), with_scale(1));
  remember_pass(running, moments(1.001), with_scale(2));
  EXPECT_EQ(found(running, moments(1.0001)), 1) << "the nearest, not the latest";
  EXPECT_EQ(found(running, moments(1.0009)), 2);
  EXPECT_EQ(found(running, moments(1.1)), -1);
  EXPECT_EQ(found(running, moments(1, 99)), -1) << "another number of elements";
  EXPECT_EQ(found(running, moments(0)), -1);
}

TEST(Passes, KnowsAModuleByItsStatisticsAndACopyByTheMoments) {
  const auto running = at::zeros({});
  const auto other = at::zeros({});
  remember_pass(running, moments(5), with_scale(1));
  remember_pass(other, moments(5), with_scale(2));
  EXPECT_EQ(found(running, moments(5)), 1);
  EXPECT_EQ(found(other, moments(5)), 2);
  EXPECT_EQ(found(at::zeros({}), moments(5)), 2);
  EXPECT_EQ(found(at::zeros({}), moments(5.001)), -1) << "of another module only the same";
}

TEST(Passes, TakesTensorsOfADeviceToo) {
  const auto running = at::zeros({});
  remember_pass(running, to_tensor(moments(7)), to_tensor(with_scale(6)));
  EXPECT_EQ(found(running, moments(7)), 6);
  EXPECT_EQ(found(running, moments(7)), 6) << "again, from what was fetched";
}

TEST(Passes, ForgetsTheOldest) {
  const auto running = at::zeros({});
  for (int i = 0; i <= 4096; ++i) remember_pass(running, moments(1, i + 1), with_scale(i));
  EXPECT_EQ(found(running, moments(1, 1)), -1);
  EXPECT_EQ(found(running, moments(1, 2)), 1);
  EXPECT_EQ(found(running, moments(1, 4097)), 4096);
}

TEST(Passes, IsSafeFromSeveralThreads) {
  std::vector<std::thread> threads;
  std::vector<int> right(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &right] {
      const auto running = at::zeros({});
      for (int i = 0; i < 500; ++i) {
        remember_pass(running, moments(1, i + 1), with_scale(1000 * t + i));
        right[static_cast<std::size_t>(t)] += found(running, moments(1, i + 1)) == 1000 * t + i ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 500));
}

}  // namespace
}  // namespace anact::ops
