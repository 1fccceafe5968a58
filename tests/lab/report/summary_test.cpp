#include "report/summary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "run_folder.h"

namespace anact::report {
namespace {

using test::RunFolder;

Run loaded(const RunFolder& folder) {
  folder.save();
  return load_run(folder.path());
}

const char* const kHeader =
    "arm,seeds,accuracy_mean,accuracy_ci95,best_accuracy_mean,loss_mean,diverged,seconds_per_epoch\n";

TEST(SummaryCsv, IsExactForATinyRun) {
  RunFolder folder;
  folder.add_all();
  // plain: mean 0.53, deviation 0.0360555, so 4.30265 · 0.0360555 / √3; normal: 0.73 and 0.0264575.
  EXPECT_EQ(summary_csv(loaded(folder)), std::string(kHeader) +
                                             "plain,3,0.53,0.0895669,0.58,0.47,0,0.375\n"
                                             "normal,3,0.73,0.0657241,0.78,0.27,0,0.375\n");
}

TEST(SummaryCsv, LeavesTheMeansOfADivergedArmEmpty) {
  RunFolder folder({0, 1});
  folder.add_completed("plain", 0, 0.5);
  folder.add_diverged("plain", 1);
  folder.add_completed("normal", 0, 0.5);
  folder.add_completed("normal", 1, 0.5);
  EXPECT_EQ(summary_csv(loaded(folder)), std::string(kHeader) +
                                             "plain,2,,,,,1,0.25\n"
                                             "normal,2,0.5,0,0.55,0.5,0,0.375\n");
}

TEST(SummaryCsv, GivesNoIntervalForOneSeed) {
  RunFolder folder({5});
  folder.add_completed("plain", 5, 0.5);
  folder.add_completed("normal", 5, 0.75);
  EXPECT_EQ(summary_csv(loaded(folder)), std::string(kHeader) +
                                             "plain,1,0.5,,0.55,0.5,0,0.375\n"
                                             "normal,1,0.75,,0.8,0.25,0,0.375\n");
}

TEST(SummaryCsv, OfAPartialRunCountsOnlyRunsThatEnded) {
  RunFolder folder;
  folder.status["state"] = "running";
  folder.add_completed("plain", 0, 0.5);
  folder.add_epoch("plain", 1, 0, 0.9);
  EXPECT_EQ(summary_csv(loaded(folder)), std::string(kHeader) +
                                             "plain,2,0.5,,0.55,0.5,0,0.375\n"
                                             "normal,0,,,,,0,\n");
}

TEST(SummaryCsv, QuotesNames) {
  RunFolder folder({0});
  folder.config["arms"][1]["name"] = "a, \"b\"\nc";
  EXPECT_NE(summary_csv(loaded(folder)).find("\n\"a, \"\"b\"\"\nc\",0,"), std::string::npos);
}

TEST(Summarize, PairsBySeed) {
  RunFolder folder;
  folder.add_all();
  const auto rows = summarize(loaded(folder));
  EXPECT_TRUE(rows[0].baseline.empty());
  EXPECT_FALSE(rows[0].difference);
  EXPECT_EQ(rows[1].baseline, "plain");
  EXPECT_EQ(rows[1].difference->pairs, 3u);
  EXPECT_NEAR(rows[1].difference->mean, 0.2, 1e-12);
  // The differences 0.20, 0.22, 0.18 deviate by 0.02.
  EXPECT_NEAR(rows[1].difference->interval.value(), 4.30265273 * 0.02 / std::sqrt(3.0), 1e-9);
  EXPECT_TRUE(rows[1].difference->excludes_zero());
}

TEST(Summarize, PairsOnlySeedsThatBothCompleted) {
  RunFolder folder;
  folder.status["state"] = "partial";
  folder.add_completed("plain", 0, 0.5);
  folder.add_completed("plain", 2, 0.6);
  folder.add_completed("normal", 1, 0.9);
  folder.add_completed("normal", 2, 0.7);
  const auto rows = summarize(loaded(folder));
  EXPECT_EQ(rows[1].difference->pairs, 1u);
  EXPECT_NEAR(rows[1].difference->mean, 0.1, 1e-12);
  EXPECT_FALSE(rows[1].difference->interval);
}

TEST(Summarize, SaysWhyThereIsNoDifference) {
  RunFolder folder;
  folder.status["state"] = "partial";
  folder.add_completed("plain", 0, 0.5);
  EXPECT_EQ(summarize(loaded(folder))[1].no_difference, "no seed in common yet");
  folder.add_completed("normal", 0, 0.5);
  folder.add_diverged("plain", 1);
  const auto rows = summarize(loaded(folder));
  EXPECT_FALSE(rows[1].difference);
  EXPECT_EQ(rows[1].no_difference, "plain diverged");
  EXPECT_TRUE(rows[1].accuracy);
}

TEST(Summarize, TakesAnArmsOwnBaseline) {
  RunFolder folder({0});
  folder.config["arms"].push_back({{"name", "third"}, {"baseline", "normal"}});
  folder.config["arms"].push_back({{"name", "alone"}, {"baseline", "alone"}});
  const auto rows = summarize(loaded(folder));
  EXPECT_EQ(rows[2].baseline, "normal");
  EXPECT_EQ(rows[3].baseline, "");
}

TEST(SummaryTable, IsAlignedMarkdown) {
  RunFolder folder;
  folder.add_all();
  EXPECT_EQ(
      summary_table(loaded(folder)),
      "| arm    | seeds |  accuracy, % | best, % | test loss | difference, points | baseline | diverged | s/epoch |\n"
      "|:-------|------:|-------------:|--------:|----------:|-------------------:|:---------|---------:|--------:|\n"
      "| plain  |   3/3 | 53.00 ± 8.96 |   58.00 |    0.4700 |                  – | –        |        0 |   0.375 |\n"
      "| normal |   3/3 | 73.00 ± 6.57 |   78.00 |    0.2700 |      +20.00 ± 4.97 | plain    |        0 |   0.375 |\n"
      "\nTest accuracy after the last epoch; ± is the half width of the 95 % interval (Student's t over the seeds).\n"
      "Differences are paired by seed. Seeds: completed of planned.\n");
}

TEST(SummaryTable, SaysThatARunIsPartial) {
  RunFolder folder;
  folder.add_completed("plain", 0, 0.5);
  folder.status = {{"state", "partial"}, {"reason", "interrupted by SIGINT"}, {"seconds", 1}};
  EXPECT_NE(summary_table(loaded(folder)).find("\nPartial: 1 of 6 runs ended (interrupted by SIGINT).\n"),
            std::string::npos);
}

TEST(SummaryTable, LetsNoNameBreakItOrTheTerminal) {
  RunFolder folder({0});
  folder.config["arms"][1]["name"] = "a|b\x1b[2J\nc";
  EXPECT_NE(summary_table(loaded(folder)).find("| a\\|b?[2J?c |"), std::string::npos);
}

TEST(Conclusion, PutsEachArmWhereItsIntervalDoes) {
  RunFolder folder;
  for (const char* name : {"worse", "same", "broken"}) folder.config["arms"].push_back({{"name", name}});
  folder.add_all();
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const double wobble = 0.01 * static_cast<double>(seed);
    folder.add_completed("worse", seed, 0.3 + wobble);
    folder.add_completed("same", seed, 0.55 - wobble);
  }
  for (std::uint64_t seed = 0; seed < 3; ++seed) folder.add_diverged("broken", seed);
  const std::string text = conclusion(loaded(folder));
  EXPECT_NE(text.find("Of 4 arms with a baseline, 1 lies above it"), std::string::npos) << text;
  EXPECT_NE(text.find("points: normal (+20.00 ± 4.97 against plain)."), std::string::npos) << text;
  EXPECT_NE(text.find("1 lies below it by more than the interval: worse (−22.00 ± "), std::string::npos) << text;
  EXPECT_NE(text.find("For 1 the interval includes zero, so these runs do not tell the arm from its baseline: same."),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("No difference is given for broken (broken diverged)."), std::string::npos) << text;
  EXPECT_NE(text.find("nothing is corrected for making 3 of them."), std::string::npos) << text;
}

TEST(Conclusion, ClaimsNothingFromOneSeed) {
  RunFolder folder({0});
  folder.add_completed("plain", 0, 0.5);
  folder.add_completed("normal", 0, 0.75);
  EXPECT_EQ(conclusion(loaded(folder)),
            "With a single seed there is no interval, so nothing can be concluded from the difference of normal "
            "(+25.00 against plain).");
}

TEST(Conclusion, SaysWhenNothingIsCompared) {
  RunFolder folder({0});
  folder.config["arms"].erase(1);
  folder.add_completed("plain", 0, 0.5);
  EXPECT_EQ(conclusion(loaded(folder)), "No arm has a baseline, so nothing is compared.");
}

}  // namespace
}  // namespace anact::report
