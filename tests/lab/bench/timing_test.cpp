#include "bench/timing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

namespace anact::bench {
namespace {

TEST(Timing, PercentilesInMicroseconds) {
  const auto times = summarize({5e-6, 1e-6, 2e-6, 4e-6, 3e-6, 6e-6});
  EXPECT_DOUBLE_EQ(times.p20, 2);
  EXPECT_DOUBLE_EQ(times.p50, 3.5);
  EXPECT_DOUBLE_EQ(times.p80, 5);
  EXPECT_DOUBLE_EQ(summarize({7e-6}).p20, 7);
}

TEST(Timing, RatiosAndDifferencesAreOfOneRound) {
  // The medians alone would give 3 / 2 and 1.
  const Samples a{1, 3, 100}, b{2, 1, 50};
  EXPECT_DOUBLE_EQ(median_ratio(a, b), 2);
  EXPECT_DOUBLE_EQ(median_difference(a, b), 2e6);
}

TEST(Timing, ContendersTakeTurnsInAnOrderThatRotates) {
  std::string order;
  const auto samples = alternate({[&] { order += 'a'; }, [&] { order += 'b'; }, [&] { order += 'c'; }},
                                 {.rounds = 3, .seconds = 9, .turn = 0});
  EXPECT_EQ(order, "aabbccabcbcacab");
  ASSERT_EQ(samples.size(), 3u);
  for (const auto& times : samples) EXPECT_EQ(times.size(), 3u);
}

TEST(Timing, AFastContenderRepeatsWithinItsTurn) {
  int calls = 0;
  const auto samples = alternate({[&] {
                                   ++calls;
                                   std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                 }},
                                 {.rounds = 1, .seconds = 9, .turn = 0.02});
  EXPECT_GT(calls, 4);
  // The time is that of one call.
  EXPECT_GE(samples[0][0], 1e-3);
  EXPECT_LT(samples[0][0], 1e-2);
}

TEST(Timing, ACaseThatTakesLongEndsAfterTheLeastRounds) {
  const auto nap = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  EXPECT_EQ(alternate({nap}, {.rounds = 1000, .seconds = 1e-3, .turn = 0})[0].size(),
            static_cast<std::size_t>(kLeastRounds));
  EXPECT_EQ(alternate({nap}, {.rounds = 2, .seconds = 0, .turn = 0})[0].size(), 2u);
}

TEST(Timing, RefusesImpossibleBudgets) {
  EXPECT_NO_THROW(check_budget({.rounds = 1, .seconds = 0, .turn = 0}));
  EXPECT_THROW(check_budget({.rounds = 0, .seconds = 1, .turn = 0}), std::invalid_argument);
  for (const double seconds : {-1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_THROW(check_budget({.rounds = 1, .seconds = seconds, .turn = 0}), std::invalid_argument) << seconds;
  }
  EXPECT_NO_THROW(check_threads({1, 1024}));
  EXPECT_THROW(check_threads({1, 0}), std::invalid_argument);
  EXPECT_THROW(check_threads({1025}), std::invalid_argument);
}

}  // namespace
}  // namespace anact::bench
