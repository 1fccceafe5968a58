// The memory of passes that run again.

#include "ops/passes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

#include "ops/anact.h"
#include "support/message.h"

namespace anact::ops {
namespace {

at::Tensor moments(double scale) {
  return at::tensor({100.0, 0.1 * scale, 90 * scale, 3 * scale, 40 * scale, 30 * scale}, at::kDouble);
}

at::Tensor with_scale(double scale) { return at::tensor({scale, -1.0, 0.5}, at::kDouble); }

double found(const at::Tensor& alpha, const at::Tensor& of) { return find_pass(alpha, of)[0].item<double>(); }

TEST(Passes, FindsTheOneWithTheSameMoments) {
  const auto alpha = at::zeros({1});
  for (const double i : {1.0, 2.0, 3.0}) remember_pass(alpha, moments(i), with_scale(i));
  EXPECT_EQ(found(alpha, moments(2)), 2);
  EXPECT_EQ(found(alpha, moments(2)), 2) << "as often as it is asked for";
  EXPECT_TRUE(at::equal(find_pass(alpha, moments(3)), with_scale(3)));
}

TEST(Passes, OfEqualsTheLatestComesFirstAndThenTheOneBefore) {
  const auto alpha = at::zeros({1});
  for (const double i : {1.0, 2.0, 3.0}) remember_pass(alpha, moments(5), with_scale(i));
  for (const int round : {1, 2}) {
    for (const double i : {3.0, 2.0, 1.0}) EXPECT_EQ(found(alpha, moments(5)), i) << round;
  }
}

TEST(Passes, AnotherBatchIsNone) {
  const auto alpha = at::zeros({1});
  remember_pass(alpha, moments(1), with_scale(1));
  const auto refused = [](const at::Tensor& of, const at::Tensor& with) {
    return message([&] { (void)find_pass(of, with); }).find("found no first pass with the same input") !=
           std::string::npos;
  };
  EXPECT_TRUE(refused(alpha, moments(1 + 1e-15)));
  EXPECT_TRUE(refused(at::zeros({1}), moments(1))) << "of another module";
}

TEST(Passes, ANotANumberIsItself) {
  const auto alpha = at::zeros({1});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  remember_pass(alpha, moments(nan), with_scale(4));
  EXPECT_EQ(found(alpha, moments(nan)), 4);
}

TEST(Passes, AModuleIsKnownByItsAlpha) {
  // Two that lie in one storage, as FSDP has them.
  const auto both = at::zeros({2});
  remember_pass(both.slice(0, 0, 1), moments(5), with_scale(1));
  remember_pass(both.slice(0, 1, 2), moments(5), with_scale(2));
  EXPECT_EQ(found(both.slice(0, 0, 1), moments(5)), 1);
  EXPECT_EQ(found(both.slice(0, 1, 2).detach(), moments(5)), 2);
}

TEST(Passes, AStepOfTheOptimizerForgetsThem) {
  const auto alpha = at::zeros({1});
  remember_pass(alpha, moments(1), with_scale(1));
  alpha.add_(1);
  EXPECT_EQ(found(alpha, moments(1)), 1) << "until the next pass";
  remember_pass(alpha, moments(2), with_scale(2));
  EXPECT_EQ(found(alpha, moments(2)), 2);
  EXPECT_ANY_THROW((void)find_pass(alpha, moments(1)));
}

TEST(Passes, TenThousandAreExactAndTheOldestIsForgotten) {
  const auto alpha = at::zeros({1});
  for (std::int64_t i = 0; i <= kPassesKept; ++i) {
    remember_pass(alpha, moments(1.0 + static_cast<double>(i)), with_scale(static_cast<double>(i)));
  }
  EXPECT_ANY_THROW((void)find_pass(alpha, moments(1)));
  for (std::int64_t i = kPassesKept; i > 0; i -= 97) {
    EXPECT_EQ(found(alpha, moments(1.0 + static_cast<double>(i))), static_cast<double>(i));
  }
  static_assert(kPassesKept >= 10000);
}

TEST(Passes, AreSafeFromSeveralThreads) {
  std::vector<std::thread> threads;
  std::vector<int> right(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &right] {
      const auto alpha = at::zeros({1});
      for (int i = 0; i < 500; ++i) {
        remember_pass(alpha, moments(i + 1), with_scale(1000 * t + i));
        right[static_cast<std::size_t>(t)] += found(alpha, moments(i + 1)) == 1000 * t + i ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 500));
}

}  // namespace
}  // namespace anact::ops
