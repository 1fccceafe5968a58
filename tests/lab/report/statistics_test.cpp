#include "report/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace anact::report {
namespace {

TEST(StudentsT, AgreesWithThePrintedTables) {
  EXPECT_NEAR(t_quantile_975(1), 12.7062, 5e-5);
  EXPECT_NEAR(t_quantile_975(2), 4.30265, 5e-6);
  EXPECT_NEAR(t_quantile_975(4), 2.77645, 5e-6);
  EXPECT_NEAR(t_quantile_975(9), 2.26216, 5e-6);
  EXPECT_NEAR(t_quantile_975(30), 2.04227, 5e-6);
}

TEST(Interval, IsTheQuantileTimesTheStandardError) {
  // Mean 2, sample variance 1, so the standard error is 1/√3.
  const std::vector<double> values = {1, 2, 3};
  EXPECT_NEAR(interval_95(values).value(), 4.30265273 / std::sqrt(3.0), 1e-8);
}

TEST(Interval, NeedsTwoValues) {
  EXPECT_FALSE(interval_95(std::vector<double>{}));
  EXPECT_FALSE(interval_95(std::vector<double>{1}));
  EXPECT_EQ(interval_95(std::vector<double>{4, 4}).value(), 0);
}

TEST(PairedDifference, MatchesAnExampleByHand) {
  // Differences 2, 4, 3, 3: mean 3, sample variance 2/3, standard error √(1/6), t(3) = 3.18245.
  const Difference difference =
      paired_difference(std::vector<double>{12, 24, 33, 43}, std::vector<double>{10, 20, 30, 40});
  EXPECT_DOUBLE_EQ(difference.mean, 3);
  EXPECT_EQ(difference.pairs, 4u);
  EXPECT_NEAR(difference.interval.value(), 3.18244631 / std::sqrt(6.0), 1e-8);
  EXPECT_TRUE(difference.excludes_zero());
}

TEST(PairedDifference, ExcludesZeroOnlyWithAnInterval) {
  EXPECT_FALSE(paired_difference(std::vector<double>{5}, std::vector<double>{1}).excludes_zero());
  EXPECT_FALSE(paired_difference(std::vector<double>{5, 1}, std::vector<double>{1, 3}).excludes_zero());
  EXPECT_FALSE(paired_difference(std::vector<double>{1, 2}, std::vector<double>{1, 2}).excludes_zero());
  EXPECT_TRUE(paired_difference(std::vector<double>{1, 1.1}, std::vector<double>{5, 5}).excludes_zero());
}

TEST(PairedDifference, OfNonFiniteValuesDoesNotExcludeZero) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(paired_difference(std::vector<double>{nan, 2, 2}, std::vector<double>{1, 1, 1}).excludes_zero());
}

TEST(Median, OfEvenAndOddCounts) {
  EXPECT_FALSE(median({}));
  EXPECT_EQ(median({3, 1, 2}).value(), 2);
  EXPECT_EQ(median({4, 1, 3, 2}).value(), 2.5);
}

TEST(GeometricMean, IsTheMeanOnTheLogScale) {
  EXPECT_NEAR(geometric_mean(std::vector<double>{1e-4, 1e-2}), 1e-3, 1e-15);
  EXPECT_EQ(geometric_mean(std::vector<double>{0, 1}), 0);
  EXPECT_TRUE(std::isnan(geometric_mean(std::vector<double>{-1, 1})));
}

}  // namespace
}  // namespace anact::report
