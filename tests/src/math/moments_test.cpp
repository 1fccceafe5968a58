#include "anact/moments.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "anact/activation.h"

namespace anact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<double> normal_sample(std::size_t count, double mean, double standard_deviation) {
  std::mt19937_64 engine(20240229);
  std::normal_distribution<double> normal(mean, standard_deviation);
  std::vector<double> sample(count);
  for (double& x : sample) x = normal(engine);
  return sample;
}

Moments gather(const std::vector<double>& sample, std::size_t begin, std::size_t end) {
  const Activation silu = make_activation(ActivationKind::silu);
  Moments moments;
  for (std::size_t i = begin; i < end; ++i) moments.add(sample[i], silu.value(sample[i]), silu.derivative(sample[i]));
  return moments;
}

// Two passes in long double.
Statistics brute_force(const std::vector<double>& sample) {
  const Activation silu = make_activation(ActivationKind::silu);
  long double x_sum = 0, f_sum = 0, f_square_sum = 0, d_square_sum = 0, m2 = 0;
  for (const double x : sample) {
    const long double f = silu.value(x), d = silu.derivative(x);
    x_sum += x;
    f_sum += f;
    f_square_sum += f * f;
    d_square_sum += d * d;
  }
  const long double n = static_cast<long double>(sample.size());
  for (const double x : sample) m2 += (x - x_sum / n) * (x - x_sum / n);
  return {static_cast<double>(f_sum / n), static_cast<double>(f_square_sum / n), static_cast<double>(m2 / n),
          static_cast<double>(d_square_sum / n)};
}

void expect_near(const Statistics& actual, const Statistics& expected, double tolerance) {
  const auto near = [tolerance](double a, double b) { EXPECT_NEAR(a, b, tolerance * std::abs(b)); };
  near(actual.output_mean, expected.output_mean);
  near(actual.output_square, expected.output_square);
  near(actual.input_variance, expected.input_variance);
  near(actual.backward_gain, expected.backward_gain);
}

bool same_bits(const Moments& a, const Moments& b) {
  return a.count == b.count && a.input_mean == b.input_mean && a.input_m2 == b.input_m2 &&
         a.output_sum == b.output_sum && a.output_square_sum == b.output_square_sum &&
         a.slope_square_sum == b.slope_square_sum;
}

struct Sample {
  double mean;
  double standard_deviation;
};

class MomentsOfSample : public testing::TestWithParam<Sample> {};

TEST_P(MomentsOfSample, AgreeWithTwoPassesInLongDouble) {
  const auto [mean, standard_deviation] = GetParam();
  const std::vector<double> sample = normal_sample(4099, mean, standard_deviation);
  // Adding one element rounds the mean, which a mean of 1e4 standard deviations makes 1e4 as costly.
  expect_near(to_statistics(gather(sample, 0, sample.size())), brute_force(sample),
              1e-14 * (10 + std::abs(mean) / standard_deviation));
}

TEST_P(MomentsOfSample, MergeOfEverySplitIsTheWhole) {
  const auto [mean, standard_deviation] = GetParam();
  const std::vector<double> sample = normal_sample(517, mean, standard_deviation);
  const Statistics whole = brute_force(sample);
  for (std::size_t split = 0; split <= sample.size(); ++split) {
    Moments moments = gather(sample, 0, split);
    moments.merge(gather(sample, split, sample.size()));
    EXPECT_EQ(moments.count, 517);
    expect_near(to_statistics(moments), whole, 1e-12);
  }
}

TEST_P(MomentsOfSample, MergeOfManyBlocksIsTheWhole) {
  const auto [mean, standard_deviation] = GetParam();
  const std::vector<double> sample = normal_sample(4099, mean, standard_deviation);
  const Statistics whole = brute_force(sample);
  for (const std::size_t block : {std::size_t{1}, std::size_t{31}, std::size_t{32}, std::size_t{1000}}) {
    Moments moments;
    for (std::size_t begin = 0; begin < sample.size(); begin += block) {
      moments.merge(gather(sample, begin, std::min(begin + block, sample.size())));
    }
    expect_near(to_statistics(moments), whole, 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(Samples, MomentsOfSample,
                         testing::Values(Sample{0, 1}, Sample{0.5, 1e-3}, Sample{-3, 2}, Sample{100, 0.1},
                                         Sample{200, 1e3}));

TEST(Moments, VarianceSurvivesALargeMean) {
  // E[x^2] - E[x]^2 would lose all digits here.
  Moments moments;
  for (const double x : {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}) moments.add(x, x, 1);
  EXPECT_NEAR(to_statistics(moments).input_variance, 22.5, 1e-12);
  Moments left, right;
  left.add(1e9 + 4, 0, 0);
  left.add(1e9 + 7, 0, 0);
  right.add(1e9 + 13, 0, 0);
  right.add(1e9 + 16, 0, 0);
  left.merge(right);
  EXPECT_NEAR(to_statistics(left).input_variance, 22.5, 1e-12);
}

TEST(Moments, AddSquaresWhatItIsGiven) {
  Moments moments;
  moments.add(1, 2, 3);
  moments.add(3, -4, 0.5);
  EXPECT_EQ(moments.count, 2);
  EXPECT_EQ(moments.input_mean, 2);
  EXPECT_EQ(moments.input_m2, 2);
  EXPECT_EQ(moments.output_sum, -2);
  EXPECT_EQ(moments.output_square_sum, 20);
  EXPECT_EQ(moments.slope_square_sum, 9.25);
  EXPECT_EQ(to_statistics(moments), (Statistics{-1, 10, 1, 4.625}));
}

TEST(Moments, MergingNothingChangesNothing) {
  const Moments moments = gather(normal_sample(33, 1, 2), 0, 33);
  Moments left = moments;
  left.merge(Moments{});
  EXPECT_TRUE(same_bits(left, moments));
  Moments right;
  right.merge(moments);
  EXPECT_TRUE(same_bits(right, moments));
}

TEST(Moments, MergeInAFixedOrderGivesTheSameBits) {
  const std::vector<double> sample = normal_sample(1000, 0.3, 1.7);
  const auto merged = [&] {
    Moments moments;
    for (std::size_t begin = 0; begin < sample.size(); begin += 100) moments.merge(gather(sample, begin, begin + 100));
    return moments;
  };
  EXPECT_TRUE(same_bits(merged(), merged()));
}

TEST(Moments, StatisticsOfNothingAreNaN) {
  const Statistics statistics = to_statistics(Moments{});
  EXPECT_TRUE(std::isnan(statistics.output_mean));
  EXPECT_TRUE(std::isnan(statistics.output_square));
  EXPECT_TRUE(std::isnan(statistics.input_variance));
  EXPECT_TRUE(std::isnan(statistics.backward_gain));
  EXPECT_FALSE(statistics.is_finite());
}

TEST(Moments, ANonFiniteElementShowsInTheStatistics) {
  const Activation relu = make_activation(ActivationKind::relu);
  for (const double bad : {kInfinity, -kInfinity, kNaN}) {
    Moments moments;
    for (const double x : {1.0, bad, 2.0}) moments.add(x, relu.value(x), relu.derivative(x));
    EXPECT_FALSE(to_statistics(moments).is_finite()) << bad;
    Moments merged;
    merged.add(1, 1, 1);
    merged.merge(moments);
    EXPECT_FALSE(to_statistics(merged).is_finite()) << bad;
  }
}

TEST(Statistics, IsFiniteLooksAtEveryMember) {
  EXPECT_TRUE(Statistics{}.is_finite());
  for (const double bad : {kInfinity, -kInfinity, kNaN}) {
    EXPECT_FALSE((Statistics{bad, 1, 1, 1}).is_finite());
    EXPECT_FALSE((Statistics{0, bad, 1, 1}).is_finite());
    EXPECT_FALSE((Statistics{0, 1, bad, 1}).is_finite());
    EXPECT_FALSE((Statistics{0, 1, 1, bad}).is_finite());
  }
}

TEST(Accepts, EverythingFiniteWithoutAGate) {
  const Statistics running{0, 0.5, 1, 0.5};
  EXPECT_TRUE(accepts(running, {5, 1e9, 1e-9, 1e9}, 0, 0));
  EXPECT_FALSE(accepts(running, {0, kNaN, 1, 1}, 0, 0));
  EXPECT_FALSE(accepts(running, {0, 1, 1, kInfinity}, 0, 0));
}

TEST(Accepts, NothingThatSaysNoGainOrDoesNotFitTheBuffers) {
  const Statistics running{0, 0.5, 1, 0.5};
  for (const double bad : {0.0, 1e-39, 3.5e38}) {
    EXPECT_FALSE(accepts(running, {0, bad, 1, 1}, 0, 0));
    EXPECT_FALSE(accepts(running, {0, 1, bad, 1}, 0, 0));
    EXPECT_FALSE(accepts(running, {0, 1, 1, bad}, 0, 0));
    EXPECT_FALSE(accepts(running, {0, bad, bad, bad}, 0, 4));
  }
  EXPECT_FALSE(accepts(running, {-3.5e38, 1, 1, 1}, 0, 0));
  EXPECT_TRUE(accepts(running, {-3.4e38, 1.2e-38, 3.4e38, 1.2e-38}, 0, 0));
}

TEST(Accepts, GateIsOnTheGainsAndClosed) {
  const Statistics running{0, 0.5, 1, 0.25};
  EXPECT_TRUE(accepts(running, running, 0.5, 2));
  // rho = s / v: both may grow together.
  EXPECT_TRUE(accepts(running, {0, 50, 100, 0.25}, 0.5, 2));
  EXPECT_TRUE(accepts(running, {0, 1, 1, 0.25}, 0.5, 2));
  EXPECT_FALSE(accepts(running, {0, 1.0001, 1, 0.25}, 0.5, 2));
  EXPECT_TRUE(accepts(running, {0, 0.25, 1, 0.25}, 0.5, 2));
  EXPECT_FALSE(accepts(running, {0, 0.2499, 1, 0.25}, 0.5, 2));
  EXPECT_TRUE(accepts(running, {0, 0.5, 1, 0.5}, 0.5, 2));
  EXPECT_FALSE(accepts(running, {0, 0.5, 1, 0.5001}, 0.5, 2));
  EXPECT_TRUE(accepts(running, {0, 0.5, 1, 0.125}, 0.5, 2));
  EXPECT_FALSE(accepts(running, {0, 0.5, 1, 0.1249}, 0.5, 2));
  EXPECT_FALSE(accepts(running, {kNaN, 0.5, 1, 0.25}, 0.5, 2));
  // A lower bound of 0 alone is still a gate.
  EXPECT_TRUE(accepts(running, {0, 1e-9, 1, 1e-9}, 0, 2));
  EXPECT_FALSE(accepts(running, {0, 5, 1, 0.25}, 0, 2));
}

TEST(Accepts, GateWithGainsOfZero) {
  const Statistics dead{0, 0, 1, 0};
  const Statistics alive{0, 0.5, 1, 0.5};
  EXPECT_FALSE(accepts(dead, dead, 0.5, 2));
  EXPECT_FALSE(accepts(dead, alive, 0.5, 2));
  EXPECT_FALSE(accepts(alive, dead, 0.5, 2));
  EXPECT_FALSE(accepts(alive, {0.5, 0.25, 0, 0.5}, 0.5, 2));
  EXPECT_FALSE(accepts(alive, {0, 0, 0, 0}, 0.5, 2));
}

TEST(BatchWeight, AveragesUntilItFallsToTheMomentum) {
  const Statistics like{0, 1, 1, 1};
  const auto weight = [&](std::int64_t tracked, double momentum) {
    return batch_weight(like, like, tracked, momentum);
  };
  EXPECT_EQ(weight(0, 0.1), 1);
  EXPECT_EQ(weight(1, 0.1), 0.5);
  EXPECT_EQ(weight(2, 0.1), 1.0 / 3);
  EXPECT_EQ(weight(8, 0.1), 1.0 / 9);
  EXPECT_EQ(weight(9, 0.1), 0.1);
  EXPECT_EQ(weight(10, 0.1), 0.1);
  EXPECT_EQ(weight(std::numeric_limits<std::int64_t>::max(), 0.1), 0.1);
  EXPECT_EQ(weight(0, 1), 1);
  EXPECT_EQ(weight(7, 1), 1);
  EXPECT_EQ(weight(3, 0), 0.25);
}

TEST(Replaces, ABatchUnlikeThoseBeforeItWhileTheStartLasts) {
  const Statistics running{5, 2, 3, 0.5};
  for (const double factor : {0.249, 4.01}) {
    for (const Statistics& batch :
         {Statistics{5, 2 * factor, 3, 0.5}, Statistics{5, 2, 3 * factor, 0.5}, Statistics{5, 2, 3, 0.5 * factor}}) {
      for (const std::int64_t tracked : {0, 1, 9}) {
        EXPECT_TRUE(replaces(running, batch, tracked)) << factor << ", " << tracked;
        EXPECT_EQ(batch_weight(running, batch, tracked, 0.1), 1);
      }
      EXPECT_FALSE(replaces(running, batch, 10));
      EXPECT_EQ(batch_weight(running, batch, 10, 0.1), 0.1);
    }
  }
  for (const double factor : {0.25, 1.0, 4.0}) {
    const Statistics batch{-1e9, 2 * factor, 3 * factor, 0.5 / factor};
    EXPECT_TRUE(replaces(running, batch, 0));
    EXPECT_FALSE(replaces(running, batch, 1));
    EXPECT_EQ(batch_weight(running, batch, 1, 0.1), 0.5);
  }
  // As a module was left by a version that took a constant first batch.
  EXPECT_TRUE(replaces({0, 0, 0, 0.25}, {0, 1, 1, 0.25}, 1));
}

TEST(BatchWeight, MakesAPlainMeanOfTheFirstBatches) {
  Statistics running{5, 10, 15, 20};
  double sum = 0;
  for (int n = 0; n < 8; ++n) {
    const double value = 1 + 0.1 * n * n;
    sum += value;
    const Statistics batch{value, 2 * value, 3 * value, 4 * value};
    running = blend(running, batch, batch_weight(running, batch, n, 0.1));
    EXPECT_NEAR(running.output_mean, sum / (n + 1), 1e-13 * sum);
    EXPECT_NEAR(running.backward_gain, 4 * sum / (n + 1), 4e-13 * sum);
  }
}

TEST(Blend, MovesEveryMemberByTheWeight) {
  const Statistics running{1, 2, 3, 4};
  const Statistics batch{5, 10, 7, 0};
  EXPECT_EQ(blend(running, batch, 0.25), (Statistics{2, 4, 4, 3}));
  EXPECT_EQ(blend(running, batch, 0), running);
}

TEST(Blend, WeightOneGivesTheBatchExactly) {
  const Statistics running{1e16, 1e16, 1e16, 1e16};
  const Statistics batch{0.1, 0.2, 0.3, 0.4};
  EXPECT_EQ(blend(running, batch, 1), batch);
}

}  // namespace
}  // namespace anact
