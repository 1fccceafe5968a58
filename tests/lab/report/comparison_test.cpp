#include "report/comparison.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace anact::report {
namespace {

Comparison compared(const std::string& arm, double mean, std::optional<double> interval, std::size_t pairs = 3) {
  return {arm, "base", Difference{mean, interval, pairs}, ""};
}

TEST(Points, AreInPercent) {
  EXPECT_EQ(points({0.0123, 0.004, 3}), "+1.23 ± 0.40");
  EXPECT_EQ(points({-0.0123, std::nullopt, 1}), "−1.23");
}

TEST(DifferenceCell, MarksWhatExcludesZero) {
  EXPECT_EQ(difference_cell(compared("a", 0.02, 0.01)).text, "▲ +2.00");
  EXPECT_EQ(difference_cell(compared("a", 0.02, 0.01)).interval, "1.00");
  EXPECT_EQ(difference_cell(compared("a", 0.02, 0.01)).css, "sure");
  EXPECT_EQ(difference_cell(compared("a", -0.02, 0.01)).text, "▼ −2.00");
  EXPECT_EQ(difference_cell(compared("a", -0.02, 0.03)).text, "−2.00");
  EXPECT_EQ(difference_cell(compared("a", -0.02, std::nullopt)).css, "");
  EXPECT_EQ(difference_cell({"a", "base", std::nullopt, "base diverged"}).text, "base diverged");
  EXPECT_EQ(difference_cell({"a", "", std::nullopt, ""}).text, "");
}

TEST(ComparisonText, GivesTheRangeOfPairs) {
  const std::string text = comparison_text(std::vector{compared("a", 0.02, 0.01, 2), compared("b", 0.02, 0.01, 5)});
  EXPECT_NE(text.find("Student's t over 2 to 5 paired seeds"), std::string::npos) << text;
}

TEST(ComparisonText, NamesAReasonOnceAndCountsManyArms) {
  std::vector<Comparison> all;
  for (int i = 0; i < 8; ++i) all.push_back({std::to_string(i), "base", std::nullopt, "no run yet"});
  EXPECT_EQ(comparison_text(all), "No difference is given for 0, 1, 2, 3, 4, 5, 6 and 7 (no run yet).");
  all.push_back({"8", "base", std::nullopt, "no run yet"});
  all.push_back({"9", "base", std::nullopt, "base diverged"});
  EXPECT_EQ(comparison_text(all),
            "No difference is given for 9 arms (no run yet). No difference is given for 9 (base diverged).");
}

}  // namespace
}  // namespace anact::report
