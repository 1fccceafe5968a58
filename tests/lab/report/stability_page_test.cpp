#include "report/stability_page.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "page/page_check.h"

namespace anact::report {
namespace {

using page::test::count;
using page::test::has;

const std::string kHeader = "arm,depth,lr,seed,status,test_accuracy,best_test_accuracy,final_train_loss\n";

std::string message_of(const std::string& text) {
  try {
    (void)parse_stability(text, "runs.csv");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void add(std::vector<StabilityRun>& runs, const std::string& arm, std::int64_t depth, double lr,
         const std::vector<double>& accuracies) {
  for (std::size_t seed = 0; seed < accuracies.size(); ++seed) {
    const bool diverged = std::isnan(accuracies[seed]);
    runs.push_back({arm, depth, lr, seed, diverged, accuracies[seed], accuracies[seed] + 0.01, 0.1});
  }
}

constexpr double kLost = std::numeric_limits<double>::quiet_NaN();

// At depth 20 normal is best at 0.01, plain nearly as good, third clearly worse, lost never whole.
std::vector<StabilityRun> example() {
  std::vector<StabilityRun> runs;
  add(runs, "plain", 20, 0.001, {0.70, 0.72, 0.74});
  add(runs, "plain", 20, 0.01, {0.89, 0.93, 0.88});
  add(runs, "plain", 20, 0.1, {0.90, kLost, 0.95});
  add(runs, "normal", 20, 0.1, {0.60, 0.55, 0.49});
  add(runs, "normal", 20, 0.01, {0.90, 0.92, 0.91});
  add(runs, "normal", 20, 0.001, {0.80, 0.82, 0.81});
  add(runs, "third", 20, 0.01, {0.50, 0.53, 0.51});
  add(runs, "lost", 20, 0.01, {kLost, 0.99, 0.99});
  add(runs, "plain", 40, 0.01, {0.20, 0.30, 0.10});
  return runs;
}

TEST(ParseStability, ReadsEveryColumn) {
  const auto runs = parse_stability(kHeader +
                                        "\"a, b\",20,0.003,4,completed,0.9,0.95,0.125\n"
                                        "silu,40,1e-1,0,diverged,,nan,\n",
                                    "runs.csv");
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].arm, "a, b");
  EXPECT_EQ(runs[0].depth, 20);
  EXPECT_EQ(runs[0].lr, 0.003);
  EXPECT_EQ(runs[0].seed, 4u);
  EXPECT_FALSE(runs[0].diverged);
  EXPECT_EQ(runs[0].test_accuracy, 0.9);
  EXPECT_EQ(runs[0].best_test_accuracy, 0.95);
  EXPECT_EQ(runs[0].final_train_loss, 0.125);
  EXPECT_TRUE(runs[1].diverged);
  EXPECT_TRUE(std::isnan(runs[1].test_accuracy));
  EXPECT_TRUE(std::isnan(runs[1].best_test_accuracy));
}

TEST(ParseStability, NamesThePlaceOfAnError) {
  const std::string header = "'runs.csv', line 1: ";
  EXPECT_EQ(message_of(""), header + "expected a header, found the end of the text");
  EXPECT_EQ(message_of("arm,lr\n"), header + "column 2: expected 'depth', found 'lr'");
  EXPECT_EQ(message_of("arm,depth\n"), header + "column 3: expected 'lr', found the end of the line");
  EXPECT_EQ(message_of(kHeader.substr(0, kHeader.size() - 1) + ",more\n"),
            header + "column 9: expected the end of the line, found 'more'");
  EXPECT_EQ(message_of(kHeader), header + "expected runs after the header, found none");

  const std::string good = "silu,20,0.1,0,completed,0.9,0.9,0.1\n";
  EXPECT_EQ(message_of(kHeader + good), "nothing was thrown");
  EXPECT_EQ(message_of(kHeader + good + "silu,20\n"), "'runs.csv', line 3: expected 8 fields, found 2");
  EXPECT_EQ(message_of(kHeader + good + good),
            "'runs.csv', line 3, column 'seed': expected a seed that this arm has not had at this depth and learning "
            "rate, found \"0\"");
  const std::string at = "'runs.csv', line 2, column ";
  const auto error = [](const std::string& row) { return message_of(kHeader + row + "\n"); };
  EXPECT_EQ(error(",20,0.1,0,completed,0.9,0.9,0.1"), at + "'arm': expected a name, found nothing");
  EXPECT_EQ(error("silu,0,0.1,0,completed,0.9,0.9,0.1"),
            at + "'depth': expected a whole number from 1 up, found \"0\"");
  EXPECT_EQ(error("silu,20,0,0,completed,0.9,0.9,0.1"), at + "'lr': expected a finite number above 0, found \"0\"");
  EXPECT_EQ(error("silu,20,inf,0,completed,0.9,0.9,0.1"), at + "'lr': expected a finite number above 0, found \"inf\"");
  EXPECT_EQ(error("silu,20,nan,0,completed,0.9,0.9,0.1"), at + "'lr': expected a finite number above 0, found \"nan\"");
  EXPECT_EQ(error("silu,20,0.1,-3,completed,0.9,0.9,0.1"),
            at + "'seed': expected a whole number from 0 up, found \"-3\"");
  EXPECT_EQ(error("silu,20,0.1,0,lost,0.9,0.9,0.1"), at + "'status': expected completed or diverged, found \"lost\"");
  EXPECT_EQ(error("silu,20,0.1,0,completed,,0.9,0.1"), at + "'test_accuracy': expected a number, found nothing");
  EXPECT_EQ(error("silu,20,0.1,0,completed,0.9,nan,0.1"),
            at + "'best_test_accuracy': expected a finite number, found \"nan\"");
  EXPECT_EQ(error("silu,20,0.1,0,diverged,x,,"), at + "'test_accuracy': expected a number, found \"x\"");
}

TEST(SummarizeStability, FindsTheLargestStableRateAndTheBest) {
  const auto rows = summarize_stability(example());
  ASSERT_EQ(rows.size(), 5u);
  const StabilityRow& plain = rows[0];
  EXPECT_EQ(plain.arm, "plain");
  EXPECT_EQ(plain.depth, 20);
  EXPECT_EQ(plain.seeds, 3u);
  EXPECT_EQ(plain.runs, 9u);
  EXPECT_EQ(plain.diverged, 1u);
  EXPECT_EQ(plain.largest_stable_lr, 0.01) << "at 0.1 a seed diverged";
  EXPECT_EQ(plain.best_lr, 0.01);
  EXPECT_NEAR(plain.accuracy.value(), 0.90, 1e-12);
  // Deviations -0.01, 0.03, -0.02: variance 0.0007.
  EXPECT_NEAR(plain.accuracy_ci95.value(), 4.30265273 * std::sqrt(0.0007 / 3), 1e-9);
  EXPECT_NEAR(plain.best_accuracy.value(), 0.91, 1e-12);

  const StabilityRow& normal = rows[1];
  EXPECT_EQ(normal.arm, "normal");
  EXPECT_EQ(normal.largest_stable_lr, 0.01) << "at 0.1 a seed is below 0.5";
  EXPECT_NEAR(normal.accuracy.value(), 0.91, 1e-12);
  EXPECT_TRUE(normal.is_best);
  EXPECT_FALSE(normal.difference);
  EXPECT_FALSE(normal.within_noise);

  EXPECT_EQ(rows[4].depth, 40);
  EXPECT_TRUE(rows[4].is_best);
  EXPECT_FALSE(rows[4].largest_stable_lr) << "completed, and did not learn";
}

TEST(SummarizeStability, PairsWithTheBestBySeed) {
  const auto rows = summarize_stability(example());
  // Plain less normal: -0.01, 0.01, -0.03.
  EXPECT_NEAR(rows[0].difference->mean, -0.01, 1e-12);
  EXPECT_NEAR(rows[0].difference->interval.value(), 4.30265273 * 0.02 / std::sqrt(3.0), 1e-9);
  EXPECT_EQ(rows[0].within_noise, true);
  // Third less normal: -0.40, -0.39, -0.40.
  EXPECT_EQ(rows[2].arm, "third");
  EXPECT_NEAR(rows[2].difference->mean, -1.19 / 3, 1e-12);
  EXPECT_EQ(rows[2].within_noise, false);
}

TEST(SummarizeStability, GivesNoMeanOverSurvivors) {
  const StabilityRow lost = summarize_stability(example())[3];
  EXPECT_EQ(lost.arm, "lost");
  EXPECT_EQ(lost.diverged, 1u);
  EXPECT_FALSE(lost.best_lr);
  EXPECT_FALSE(lost.accuracy);
  EXPECT_FALSE(lost.largest_stable_lr);
  EXPECT_FALSE(lost.difference);
  EXPECT_FALSE(lost.is_best);
}

TEST(SummarizeStability, CountsARateOnlyWithAllSeeds) {
  std::vector<StabilityRun> runs;
  add(runs, "plain", 20, 0.01, {0.8, 0.8});
  add(runs, "plain", 20, 0.1, {0.9});
  const auto rows = summarize_stability(runs);
  EXPECT_EQ(rows[0].best_lr, 0.01);
  EXPECT_EQ(rows[0].largest_stable_lr, 0.01);
}

TEST(SummarizeStability, TakesWhatCountsAsLearnedAsAnArgument) {
  EXPECT_EQ(summarize_stability(example(), 0.49)[1].largest_stable_lr, 0.1);
  EXPECT_FALSE(summarize_stability(example(), 0.95)[1].largest_stable_lr);
}

TEST(SummarizeStability, ClaimsNothingFromOneSeed) {
  std::vector<StabilityRun> runs;
  add(runs, "a", 20, 0.01, {0.8});
  add(runs, "b", 20, 0.01, {0.9});
  const auto rows = summarize_stability(runs);
  EXPECT_FALSE(rows[0].accuracy_ci95);
  EXPECT_NEAR(rows[0].difference->mean, -0.1, 1e-12);
  EXPECT_FALSE(rows[0].within_noise);
  EXPECT_TRUE(
      has(stability_html({"A study", {}, runs}), "from a single seed, so that nothing can be said of the noise"));
}

TEST(SummarizeStability, TakesTheSmallerOfEqualRatesAndTheFirstOfEqualArms) {
  std::vector<StabilityRun> runs;
  for (const char* arm : {"a", "b"}) {
    for (const double lr : {0.1, 0.01}) add(runs, arm, 20, lr, {0.75, 0.5});
  }
  const auto rows = summarize_stability(runs);
  EXPECT_EQ(rows[0].best_lr, 0.01);
  EXPECT_EQ(rows[0].largest_stable_lr, 0.1);
  EXPECT_TRUE(rows[0].is_best);
  EXPECT_FALSE(rows[1].is_best);
  EXPECT_EQ(rows[1].within_noise, true);
}

TEST(StabilityCsv, IsExact) {
  EXPECT_EQ(stability_csv(summarize_stability(example())),
            "arm,depth,seeds,runs,diverged,largest_stable_lr,best_lr,accuracy_mean,accuracy_ci95,best_accuracy_mean,"
            "best_arm,difference_mean,difference_ci95,within_noise\n"
            "plain,20,3,9,1,0.01,0.01,0.9,0.0657241,0.91,false,-0.01,0.0496828,true\n"
            "normal,20,3,9,0,0.01,0.01,0.91,0.0248414,0.92,true,,,\n"
            "third,20,3,3,0,0.01,0.01,0.513333,0.0379458,0.523333,false,-0.396667,0.0143422,false\n"
            "lost,20,3,3,1,,,,,,false,,,\n"
            "plain,40,3,3,0,,0.01,0.2,0.248414,0.21,true,,,\n");
}

TEST(StabilityTable, IsMarkdown) {
  const std::string table = stability_table(summarize_stability(example()));
  EXPECT_EQ(table.find("| arm    | depth | seeds | diverged | largest stable rate |   accuracy, % | at rate |"), 0u)
      << table;
  EXPECT_TRUE(has(table, "| plain  |    20 |     3 |   1 of 9 |                0.01 |  90.00 ± 6.57 |    0.01 |"))
      << table;
  EXPECT_TRUE(has(table, "−1.00 ± 4.97 | yes ")) << table;
  EXPECT_TRUE(has(table, "−39.67 ± 1.43 | no ")) << table;
  EXPECT_TRUE(has(table, "reached a test accuracy of 50 %")) << table;
  EXPECT_TRUE(has(stability_table({}, 0.9), "reached a test accuracy of 90 %"));
}

TEST(StabilityPage, HasAChartADepth) {
  const auto runs = example();
  const std::string html = stability_html({"A study", {{"Data", "digits"}}, runs});
  std::size_t last = 0;
  for (const char* part :
       {"<h1>A study</h1>", "<dd>digits</dd>", "<dd>27 runs, 2 of which diverged</dd>",
        "<dd>a test accuracy of 50 % with every seed</dd>", "<h2>Result</h2>",
        "At depth 20 the best mean accuracy is 91.00 %, of normal at 0.01; within noise of it is plain. The largest "
        "stable learning rate is 0.01, of plain, normal and third.",
        "At depth 40 the best mean accuracy is 20.00 %, of plain at 0.01. No arm "
        "is "
        "stable at any rate.",
        "<h3>Depth 20</h3>", "<h3>Depth 40</h3>", "<h2>All arms</h2>", "lost</th>"}) {
    const std::size_t at = html.find(part, last);
    ASSERT_NE(at, std::string::npos) << part << "\n" << html.substr(html.find("<h2>Result"), 1500);
    last = at;
  }
  EXPECT_EQ(count(html, "class=\"chart\""), 2u);
  EXPECT_EQ(count(html, "class=\"cross\""), 1u) << "plain, whose next rate diverged; lost has no line";
  EXPECT_TRUE(has(html, "<title>plain: learning rate 0.01, 90 (88 to 93)</title>"));
  EXPECT_FALSE(has(html, "plain: learning rate 0.1"));
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
  EXPECT_EQ(page::test::first_from_outside(html), "");
}

TEST(StabilityPage, DrawsManyArmsThin) {
  std::vector<StabilityRun> runs;
  for (int i = 0; i < 22; ++i) {
    for (const double lr : {0.001, 0.01}) add(runs, "arm" + std::to_string(i), 20, lr, {0.5, 0.01 * i});
  }
  const std::string html = stability_html({"A study", {}, runs});
  EXPECT_EQ(count(html, "class=\"chart thin\""), 1u);
  EXPECT_EQ(count(html, "class=\"band\""), 0u);
  EXPECT_EQ(count(html, "<polyline"), 22u);
  EXPECT_TRUE(has(html, "<title>arm21</title></polyline>"));
}

TEST(StabilityPage, OfNothingThatCompletedSaysSo) {
  std::vector<StabilityRun> runs;
  add(runs, "<script>", 20, 0.01, {kLost, kLost});
  const std::string html = stability_html({"<script>", {}, runs});
  EXPECT_TRUE(has(html, "At depth 20 no arm has a learning rate at which all its seeds completed."));
  EXPECT_TRUE(has(html, "No values to draw"));
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

}  // namespace
}  // namespace anact::report
