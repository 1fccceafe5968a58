#include "report/study_summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "study_example.h"

namespace anact::report {
namespace {

using test::row_of;
using test::Rows;

constexpr double kLost = kUnknown;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Three rates at two seeds, then the chosen one at three.
StudyExperiment example() {
  return {.name = "e",
          .title = "An experiment",
          .arms = {{.name = "plain", .activation = "silu"},
                   {.name = "normal", .baseline = "plain", .activation = "silu", .normalized = true},
                   {.name = "third", .baseline = "plain", .activation = "relu"},
                   {.name = "lost", .baseline = "normal", .activation = "relu"}},
          .trials = {{0.001, 0}, {0.01, 0}, {0.1, 0}},
          .seeds = 3,
          .trial_seeds = 2,
          .planned_runs = 4 * (3 * 2 + 1)};
}

// Normal is best at 0.01, plain nearly as good there, third clearly worse, lost diverges everywhere.
Rows example_rows() {
  Rows rows;
  rows.add("plain", {0.001, 0}, {0.70, 0.72}).add("plain", {0.01, 0}, {0.89, 0.93, 0.88});
  rows.add("plain", {0.1, 0}, {0.90, kLost});
  rows.add("normal", {0.1, 0}, {0.60, 0.49}).add("normal", {0.01, 0}, {0.90, 0.92, 0.91});
  rows.add("normal", {0.001, 0}, {0.86, 0.88});
  rows.add("third", {0.01, 0}, {0.50, 0.53, 0.51}).add("third", {0.001, 0}, {0.3, 0.3});
  rows.add("third", {0.1, 0}, {0.4, 0.4});
  for (const double rate : {0.001, 0.01, 0.1}) rows.add("lost", {rate, 0}, {kLost, 0.99});
  return rows;
}

TEST(StudySummary, IsByHandAtTheChosenSetting) {
  const auto arms = summarize(example(), example_rows().all);
  ASSERT_EQ(arms.size(), 4u);
  const ArmSummary& plain = arms[0];
  EXPECT_EQ(plain.arm, "plain");
  EXPECT_EQ(plain.runs, 7u);
  EXPECT_EQ(plain.planned, 7u);
  EXPECT_EQ(plain.diverged, 1u);
  EXPECT_EQ(plain.chosen, (TrialSetting{0.01, 0})) << "at 0.1 a seed diverged";
  EXPECT_FALSE(plain.provisional);
  EXPECT_EQ(plain.seeds, 3u);
  EXPECT_NEAR(plain.accuracy.value(), 0.90, 1e-12);
  // Deviations -0.01, 0.03, -0.02: variance 0.0007.
  EXPECT_NEAR(plain.accuracy_ci95.value(), 4.30265273 * std::sqrt(0.0007 / 3), 1e-9);
  EXPECT_EQ(plain.baseline, "");
  EXPECT_FALSE(plain.difference);
  // Of the completed runs 10, 11, 10, 11, 12, 10.
  EXPECT_EQ(plain.seconds, 10.5);

  // Normal less plain: 0.01, -0.01, 0.03.
  const ArmSummary& normal = arms[1];
  EXPECT_EQ(normal.baseline, "plain");
  EXPECT_NEAR(normal.difference->mean, 0.01, 1e-12);
  EXPECT_NEAR(normal.difference->interval.value(), 4.30265273 * 0.02 / std::sqrt(3.0), 1e-9);
  EXPECT_EQ(normal.difference->pairs, 3u);
  EXPECT_FALSE(normal.difference->excludes_zero());
  EXPECT_FALSE(normal.difference_provisional);
  // Third less plain: -0.39, -0.40, -0.37.
  EXPECT_NEAR(arms[2].difference->mean, -1.16 / 3, 1e-12);
  EXPECT_TRUE(arms[2].difference->excludes_zero());
}

TEST(StudySummary, GivesNoMeanOverSurvivors) {
  const ArmSummary lost = summarize(example(), example_rows().all)[3];
  EXPECT_EQ(lost.diverged, 3u);
  EXPECT_FALSE(lost.chosen);
  EXPECT_FALSE(lost.provisional);
  EXPECT_FALSE(lost.accuracy);
  EXPECT_FALSE(lost.band);
  EXPECT_FALSE(lost.largest_stable_rate);
  EXPECT_EQ(lost.no_accuracy, "diverged at every setting");
  EXPECT_EQ(lost.no_difference, "diverged at every setting");
  EXPECT_EQ(lost.planned, 6u) << "it does not go on to all seeds";
}

TEST(StudySummary, GivesNoMeanOfWhatIsNotKnown) {
  auto rows = example_rows();
  rows.all[2].test_accuracy = kUnknown;  // of plain's at 0.01
  const auto arms = summarize(example(), rows.all);
  EXPECT_FALSE(arms[0].accuracy);
  EXPECT_EQ(arms[0].no_accuracy, "no test accuracy");
  EXPECT_EQ(arms[1].no_difference, "plain: no test accuracy");
}

TEST(StudySummary, SaysWhichOfALaterSeedDiverged) {
  auto rows = example_rows();
  for (StudyRow& row : rows.all) row.diverged = row.diverged || (row.arm == "plain" && row.seed == 2);
  const auto arms = summarize(example(), rows.all);
  EXPECT_EQ(arms[0].chosen, (TrialSetting{0.01, 0})) << "which the trial seeds decide";
  EXPECT_FALSE(arms[0].accuracy);
  EXPECT_FALSE(arms[0].band);
  EXPECT_EQ(arms[0].no_accuracy, "diverged at 1 of 3 seeds");
  EXPECT_FALSE(arms[1].difference);
  EXPECT_EQ(arms[1].no_difference, "plain: diverged at 1 of 3 seeds");
}

TEST(StudySummary, ChoosesOnValidationImagesOnly) {
  Rows rows;
  rows.add("plain", {0.001, 0}, {0.5, 0.5}).add("plain", {0.01, 0}, {0.9, 0.9}).add("plain", {0.1, 0}, {0.4, 0.4});
  for (StudyRow& row : rows.all) {
    if (row.setting.learning_rate == 0.001) row.validation_accuracy = 0.99;
  }
  const ArmSummary plain = summarize(example(), rows.all)[0];
  EXPECT_EQ(plain.chosen, (TrialSetting{0.001, 0}));
  EXPECT_EQ(plain.accuracy, 0.5);
}

TEST(StudySummary, IsProvisionalWhileTrialsThatMatterAreMissing) {
  auto rows = example_rows();
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "normal" && row.setting.learning_rate == 0.1; });
  // What is missing of plain is a seed at a setting where another one diverged already.
  std::erase_if(rows.all, [](const StudyRow& row) {
    return row.arm == "plain" && row.setting.learning_rate == 0.1 && !row.diverged;
  });
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "third" && row.seed == 1; });
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "lost"; });
  const auto arms = summarize(example(), rows.all);
  EXPECT_FALSE(arms[0].provisional);
  EXPECT_TRUE(arms[1].provisional);
  EXPECT_TRUE(arms[1].chosen);
  EXPECT_TRUE(arms[1].difference);
  EXPECT_TRUE(arms[1].difference_provisional);
  EXPECT_FALSE(arms[2].chosen) << "no setting has both trial seeds";
  EXPECT_EQ(arms[2].no_accuracy, "trials missing");
  EXPECT_EQ(arms[3].no_accuracy, "no run yet");
  EXPECT_EQ(arms[3].planned, 7u);
}

TEST(StudySummary, PairsOnlySeedsThatBothHave) {
  StudyExperiment experiment = example();
  experiment.trials = {{0.1, 0}};
  Rows rows;
  rows.add("plain", {0.1, 0}, {0.5, 0.6, 0.7}).add("normal", {0.1, 0}, {0.8, 0.7}, 2).add("third", {0.1, 0}, {0.1}, 7);
  const auto arms = summarize(experiment, rows.all);
  EXPECT_EQ(arms[1].difference->pairs, 1u);
  EXPECT_NEAR(arms[1].difference->mean, 0.1, 1e-12);
  EXPECT_FALSE(arms[1].difference->interval);
  EXPECT_FALSE(arms[2].difference);
  EXPECT_EQ(arms[2].no_difference, "no seed in common yet");
  EXPECT_EQ(arms[3].no_difference, "no run yet");
}

TEST(StudySummary, TakesTheOnlySettingFromTheFirstRunOn) {
  StudyExperiment experiment = example();
  experiment.trials = {{0.1, 0.5}};
  experiment.trial_seeds = 3;
  Rows rows;
  rows.add("plain", {0.1, 0.5}, {0.5}).add("normal", {0.1, 0.5}, {0.5, kLost});
  for (StudyRow& row : rows.all) row.validation_accuracy = kUnknown;
  const auto arms = summarize(experiment, rows.all);
  EXPECT_EQ(arms[0].chosen, (TrialSetting{0.1, 0.5}));
  EXPECT_FALSE(arms[0].provisional);
  EXPECT_EQ(arms[0].accuracy, 0.5);
  EXPECT_FALSE(arms[0].accuracy_ci95);
  EXPECT_EQ(arms[1].no_accuracy, "diverged at 1 of 2 seeds");
  EXPECT_EQ(arms[0].planned, 3u);
}

TEST(StudySummary, PassesOverOtherExperimentsAndUnknownArms) {
  auto rows = example_rows();
  const auto before = summarize(example(), rows.all);
  rows.all.push_back(row_of("other", "plain", {0.01, 0}, 9));
  rows.all.push_back(row_of("e", "unheard of", {0.01, 0}, 9));
  EXPECT_EQ(summarize(example(), rows.all)[0].runs, before[0].runs);
  StudyExperiment experiment = example();
  experiment.arms[1].baseline = "nobody";
  EXPECT_EQ(summarize(experiment, rows.all)[1].no_difference, "nobody: no such arm");
  EXPECT_FALSE(runs_that_count(experiment, rows.all, "nobody"));
  EXPECT_EQ(runs_that_count(experiment, rows.all, "plain")->rows.size(), 3u);
  EXPECT_FALSE(runs_that_count(experiment, rows.all, "lost"));
}

// ---- the band -----------------------------------------------------------------------------------------------------

StudyExperiment wide() {
  StudyExperiment experiment = example();
  experiment.trials = {{0.001, 0}, {0.003, 0}, {0.01, 0}, {0.03, 0}, {0.1, 0}};
  return experiment;
}

// One row of accuracies for `plain`, a rate each.
std::optional<RateBand> band_of(const std::vector<double>& accuracies) {
  const StudyExperiment experiment = wide();
  Rows rows;
  for (std::size_t i = 0; i < accuracies.size(); ++i) {
    rows.add("plain", experiment.trials[i], {accuracies[i], accuracies[i]});
  }
  return summarize(experiment, rows.all)[0].band;
}

TEST(RateBand, GoesAsFarAsAccuracyIsWithinFivePoints) {
  const auto band = band_of({0.80, 0.86, 0.90, 0.84, 0.80}).value();
  EXPECT_EQ(band.low, 0.003);
  EXPECT_EQ(band.high, 0.01);
  EXPECT_FALSE(band.at_smallest);
  EXPECT_FALSE(band.at_largest);
  EXPECT_NEAR(band.decades(), std::log10(10.0 / 3), 1e-12);
}

TEST(RateBand, TakesADifferenceOfExactlyFivePoints) {
  EXPECT_EQ(band_of({0.1, 0.85, 0.90, 0.1, 0.1})->low, 0.003);
  EXPECT_EQ(band_of({0.1, 0.95, 0.90, 0.1, 0.1})->high, 0.01);
}

TEST(RateBand, SaysWhereItReachesTheEndOfWhatWasTried) {
  const auto whole = band_of({0.9, 0.9, 0.9, 0.9, 0.9}).value();
  EXPECT_TRUE(whole.at_smallest);
  EXPECT_TRUE(whole.at_largest);
  EXPECT_NEAR(whole.decades(), 2, 1e-12);
  const auto last = band_of({0.1, 0.1, 0.1, 0.1, 0.9}).value();
  EXPECT_EQ(last.low, 0.1);
  EXPECT_FALSE(last.at_smallest);
  EXPECT_TRUE(last.at_largest);
  EXPECT_EQ(last.decades(), 0);
}

TEST(RateBand, StopsAtAHoleAndAtWhatIsMissing) {
  const auto hole = band_of({0.9, kLost, 0.91, 0.9, 0.1}).value();
  EXPECT_EQ(hole.low, 0.01);
  EXPECT_EQ(hole.high, 0.03);
  const auto missing = band_of({0.9, 0.91, 0.9}).value();
  EXPECT_EQ(missing.high, 0.01);
  EXPECT_FALSE(missing.at_largest);
  EXPECT_FALSE(band_of({kLost, kLost, kLost, kLost, kLost}));
}

TEST(RateBand, IsMeasuredByTheBestOfAnyArm) {
  auto rows = example_rows();
  // Third's best is 0.515 on average over the trial seeds, normal's 0.91.
  const auto arms = summarize(example(), rows.all);
  EXPECT_FALSE(arms[2].band);
  EXPECT_EQ(arms[1].band->low, 0.001);
  EXPECT_TRUE(arms[1].band->at_smallest);
  EXPECT_EQ(arms[1].band->high, 0.01);
  StudyExperiment lenient = example();
  lenient.works_within = 0.5;
  EXPECT_EQ(summarize(lenient, rows.all)[2].band->low, 0.01);
}

TEST(RateBand, StaysAtTheChosenWeightDecay) {
  StudyExperiment experiment = example();
  experiment.trials = {{0.01, 0}, {0.01, 0.5}, {0.1, 0}, {0.1, 0.5}};
  Rows rows;
  rows.add("plain", {0.01, 0}, {0.9, 0.9}).add("plain", {0.01, 0.5}, {0.1, 0.1});
  rows.add("plain", {0.1, 0}, {0.1, 0.1}).add("plain", {0.1, 0.5}, {0.91, 0.91});
  const ArmSummary plain = summarize(experiment, rows.all)[0];
  EXPECT_EQ(plain.chosen, (TrialSetting{0.1, 0.5}));
  EXPECT_EQ(plain.band->low, 0.1);
  EXPECT_FALSE(plain.band->at_smallest);
}

TEST(RateBand, JudgesByTestImagesWhereThereAreNoOthers) {
  StudyExperiment experiment = wide();
  Rows rows;
  for (const TrialSetting& setting : experiment.trials)
    rows.add("plain", setting, {0.9, 0.9}).add("normal", setting, {0.9, 0.9});
  for (StudyRow& row : rows.all) row.validation_accuracy = kUnknown;
  const auto arms = summarize(experiment, rows.all);
  EXPECT_FALSE(arms[0].chosen) << "nothing is chosen on test images";
  EXPECT_EQ(arms[0].largest_stable_rate, 0.1);
}

TEST(LargestStableRate, IsWhereTheWorstSeedLearned) {
  // The best mean is 0.89 on validation images, so half the way from chance is 0.495.
  auto arms = summarize(example(), example_rows().all);
  EXPECT_EQ(arms[0].largest_stable_rate, 0.01) << "at 0.1 a seed diverged";
  EXPECT_EQ(arms[1].largest_stable_rate, 0.01) << "at 0.1 a seed has 0.47";
  EXPECT_FALSE(arms[2].largest_stable_rate) << "0.48 at its best";
  // Among so many classes nothing is guessed.
  auto rows = example_rows().all;
  for (auto& row : rows) row.classes = 1000000000;
  arms = summarize(example(), rows);
  EXPECT_EQ(arms[1].largest_stable_rate, 0.1);
  EXPECT_EQ(arms[2].largest_stable_rate, 0.01);
}

// ---- a plain oracle -----------------------------------------------------------------------------------------------

// Everything over again in another way: maps instead of searches, sums of squares instead of deviations.
struct Oracle {
  std::map<std::string, std::map<TrialSetting, std::map<std::uint64_t, const StudyRow*>>> runs;

  explicit Oracle(const std::vector<StudyRow>& rows) {
    for (const StudyRow& row : rows) runs[row.arm][row.setting][row.seed] = &row;
  }

  // Of the trial seeds, -1 where one is missing or any run diverged.
  double judged(const std::string& arm, const TrialSetting& setting, std::size_t trial_seeds) {
    double sum = 0;
    for (const auto& [seed, row] : runs[arm][setting]) {
      if (row->diverged) return -1;
    }
    for (std::uint64_t seed = 0; seed < trial_seeds; ++seed) {
      const auto found = runs[arm][setting].find(seed);
      if (found == runs[arm][setting].end()) return -1;
      sum += found->second->validation_accuracy;
    }
    return sum / static_cast<double>(trial_seeds);
  }
};

TEST(StudySummary, AgreesWithAPlainOneOnRandomRows) {
  std::minstd_rand random(11);
  const auto uniform = [&] { return static_cast<double>(random() % 10007) / 10007; };
  for (int round = 0; round < 200; ++round) {
    StudyExperiment experiment = wide();
    experiment.trials.resize(2 + random() % 4);
    experiment.trial_seeds = 1 + random() % 3;
    experiment.seeds = experiment.trial_seeds + random() % 3;
    experiment.works_within = 0.2;
    Rows rows;
    for (const StudyArm& arm : experiment.arms) {
      for (const TrialSetting& setting : experiment.trials) {
        for (std::uint64_t seed = 0; seed < experiment.seeds; ++seed) {
          if (uniform() < 0.05) continue;
          rows.add(arm.name, setting, {uniform() < 0.05 ? kLost : 0.5 + 0.5 * uniform()}, seed);
        }
      }
    }
    std::shuffle(rows.all.begin(), rows.all.end(), random);
    Oracle oracle(rows.all);
    std::map<std::string, std::pair<double, TrialSetting>> best;
    double highest = -1;
    for (const StudyArm& arm : experiment.arms) {
      best[arm.name].first = -1;
      for (const TrialSetting& setting : experiment.trials) {
        // choose() looks at the trial seeds only.
        double accuracy = oracle.judged(arm.name, setting, experiment.trial_seeds);
        highest = std::max(highest, accuracy);
        auto& of_setting = oracle.runs[arm.name][setting];
        if (accuracy < 0) {
          std::map<std::uint64_t, const StudyRow*> all = of_setting;
          std::erase_if(of_setting, [&](const auto& one) { return one.first >= experiment.trial_seeds; });
          accuracy = oracle.judged(arm.name, setting, experiment.trial_seeds);
          of_setting = all;
        }
        if (accuracy > best[arm.name].first) best[arm.name] = {accuracy, setting};
      }
    }
    for (const ArmSummary& summary : summarize(experiment, rows.all)) {
      const auto& [accuracy, setting] = best[summary.arm];
      ASSERT_EQ(summary.chosen.has_value(), accuracy >= 0);
      if (!summary.chosen) continue;
      ASSERT_EQ(*summary.chosen, setting);
      const auto& runs = oracle.runs[summary.arm][setting];
      double sum = 0, squares = 0;
      bool diverged = false;
      for (const auto& [seed, row] : runs) {
        diverged = diverged || row->diverged;
        sum += row->test_accuracy;
        squares += row->test_accuracy * row->test_accuracy;
      }
      const auto n = static_cast<double>(runs.size());
      ASSERT_EQ(summary.accuracy.has_value(), !diverged);
      if (!diverged) {
        ASSERT_NEAR(*summary.accuracy, sum / n, 1e-12);
        ASSERT_EQ(summary.accuracy_ci95.has_value(), runs.size() > 1);
        if (runs.size() > 1) {
          ASSERT_NEAR(*summary.accuracy_ci95,
                      t_quantile_975(n - 1) * std::sqrt(std::max(0.0, (squares - sum * sum / n) / (n - 1) / n)), 1e-7);
        }
      }
      // The widest run of rates that all work and hold the chosen one.
      std::optional<std::pair<double, double>> widest;
      const auto& trials = experiment.trials;
      for (std::size_t low = 0; low < trials.size(); ++low) {
        for (std::size_t high = low; high < trials.size(); ++high) {
          bool works = trials[low] <= setting && setting <= trials[high];
          for (std::size_t i = low; i <= high; ++i) {
            const double judged = oracle.judged(summary.arm, trials[i], experiment.trial_seeds);
            works = works && judged >= 0 && judged >= highest - 0.2;
          }
          if (works &&
              (!widest || trials[high].learning_rate / trials[low].learning_rate > widest->second / widest->first)) {
            widest = {trials[low].learning_rate, trials[high].learning_rate};
          }
        }
      }
      ASSERT_EQ(summary.band.has_value(), widest.has_value());
      if (!widest) continue;
      ASSERT_EQ(summary.band->low, widest->first);
      ASSERT_EQ(summary.band->high, widest->second);
      ASSERT_EQ(summary.band->at_smallest, widest->first == trials.front().learning_rate);
      ASSERT_EQ(summary.band->at_largest, widest->second == trials.back().learning_rate);
    }
  }
}

// ---- who goes on --------------------------------------------------------------------------------------------------

TEST(Finalists, AreTheBestAndTheirBaselines) {
  StudyExperiment experiment = example();
  experiment.finalists = 1;
  auto rows = example_rows();
  for (StudyRow& row : rows.all) row.validation_accuracy += row.arm == "normal" ? 0.01 : 0;
  EXPECT_EQ(finalists(experiment, rows.all), (std::vector<std::string>{"plain", "normal"}));
  // Third is compared with plain, and lost, which would be with normal, has no setting.
  experiment.finalists = 9;
  EXPECT_EQ(finalists(experiment, rows.all), (std::vector<std::string>{"plain", "normal", "third"}));
  experiment.finalists = 1;
  EXPECT_EQ(summarize(experiment, rows.all)[2].planned, 6u);
  EXPECT_EQ(summarize(experiment, rows.all)[1].planned, 7u);
}

TEST(Finalists, WaitForTheTrials) {
  StudyExperiment experiment = example();
  experiment.finalists = 2;
  auto rows = example_rows();
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "third" && row.seed == 1; });
  EXPECT_FALSE(finalists(experiment, rows.all));
  EXPECT_EQ(summarize(experiment, rows.all)[0].planned, 6u);
  experiment.finalists = 0;
  EXPECT_EQ(finalists(experiment, rows.all), (std::vector<std::string>{"plain", "normal", "third", "lost"}));
}

// ---- text ---------------------------------------------------------------------------------------------------------

const std::string kHeader =
    "experiment,arm,baseline,runs,planned,diverged,lr,weight_decay,provisional,seeds,accuracy_mean,accuracy_ci95,"
    "difference_mean,difference_ci95,pairs,excludes_zero,band_low,band_high,band_decades,band_at_smallest,"
    "band_at_largest,largest_stable_lr,seconds\n";

TEST(StudySummaryCsv, IsExact) {
  EXPECT_EQ(summary_csv({.title = "A study", .experiments = {example()}}, example_rows().all),
            kHeader +
                "e,plain,,7,7,1,0.01,0,false,3,0.9,0.0657241,,,,,0.01,0.01,0,false,false,0.01,10.5\n"
                "e,normal,plain,7,7,0,0.01,0,false,3,0.91,0.0248414,0.01,0.0496828,3,false,0.001,0.01,1,true,false,"
                "0.01,11\n"
                "e,third,plain,7,7,0,0.01,0,false,3,0.513333,0.0379458,-0.386667,0.0379458,3,true,,,,,,,11\n"
                "e,lost,normal,6,6,3,,,false,0,,,,,,,,,,,,,11\n");
}

TEST(StudySummaryCsv, QuotesNamesAndBearsNoRows) {
  StudyExperiment experiment = example();
  experiment.arms = {{.name = "a, \"b\""}};
  EXPECT_EQ(summary_csv({.title = "A study", .experiments = {experiment}}, {}),
            kHeader + "e,\"a, \"\"b\"\"\",,0,7,0,,,true,0,,,,,,,,,,,,,\n");
  EXPECT_EQ(summary_csv({}, {}), kHeader);
}

TEST(StudySummaryTable, IsMarkdown) {
  const std::string table = summary_table(example(), example_rows().all);
  EXPECT_EQ(table.find("| arm    | runs | diverged | rate |               accuracy, % |        difference, points | "
                       "against | rates that work | decades | largest stable | s/run |\n"),
            0u)
      << table;
  EXPECT_TRUE(has(table, "| plain  |    7 |        1 | 0.01 |              90.00 ± 6.57 |")) << table;
  EXPECT_TRUE(has(table,
                  "| normal |    7 |        0 | 0.01 |              91.00 ± 2.48 |              +1.00 ± 4.97 | "
                  "plain   |      0.001–0.01 |   ≥ 1.0 |           0.01 |  11.0 |"))
      << table;
  EXPECT_TRUE(has(table, "▼ −38.67 ± 3.79 | plain   |            none |")) << table;
  EXPECT_TRUE(has(table, "diverged at every setting | diverged at every setting | normal")) << table;
  EXPECT_TRUE(has(table, "over 2 seeds; both arms")) << table;
  EXPECT_TRUE(has(table, "at most 5 points below the best")) << table;
}

TEST(StudySummaryTable, BracketsWhatMayChange) {
  auto rows = example_rows();
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "plain" && row.setting.learning_rate == 0.001; });
  const std::string table = summary_table(example(), rows.all);
  EXPECT_TRUE(has(table, "| plain  |  5/7 |        1 | (0.01) |")) << table;
  EXPECT_TRUE(has(table, " (−38.67 ± 3.79) | plain ")) << table;
  EXPECT_FALSE(has(table, "▼ −")) << table;
}

TEST(StudySummaryTable, LeavesOutWhatOneSettingHasNot) {
  StudyExperiment experiment = example();
  experiment.trials = {{0.1, 0}};
  Rows rows;
  rows.add("plain", {0.1, 0}, {0.5, 0.6, 0.7}).add("normal", {0.1, 0}, {0.8, 0.7}, 1).add("third", {0.1, 0}, {0.8});
  const std::string table = summary_table(experiment, rows.all);
  EXPECT_EQ(table.find("| arm    | runs | diverged |   accuracy, % | difference, points | pairs | against | s/run |\n"),
            0u)
      << table;
  EXPECT_FALSE(has(table, "Rates that work")) << table;
  EXPECT_TRUE(has(table, "+10.00 ± 127.06 |     2 | plain ")) << table;
  EXPECT_TRUE(has(table, "+30.00 |     1 | plain ")) << table;
}

TEST(StudySummaryTable, NamesTheWeightDecayWhereThereAreSeveral) {
  StudyExperiment experiment = example();
  experiment.trials = {{0.1, 0}, {0.1, 0.0005}};
  Rows rows;
  rows.add("plain", {0.1, 0}, {0.5, 0.6}).add("plain", {0.1, 0.0005}, {0.6, 0.7});
  const std::string table = summary_table(experiment, rows.all);
  EXPECT_TRUE(has(table, "| rate | weight decay |")) << table;
  EXPECT_TRUE(has(table, "|  0.1 |       0.0005 |")) << table;
}

TEST(StudyConclusion, PutsEachArmWhereItsIntervalDoes) {
  EXPECT_EQ(conclusion(example(), example_rows().all),
            "This is what 27 of 28 runs show. 4 of 27 runs diverged. Of 3 arms with a baseline, 0 lie above it in test "
            "accuracy after the last epoch by more than the 95 % interval, in percentage points. 1 lies below it by "
            "more than the interval: third (−38.67 ± 3.79 against plain). For 1 the interval includes zero, so these "
            "runs do not tell the arm from its baseline: normal. No difference is given for lost (diverged at every "
            "setting). The intervals are Student's t over 3 paired seeds, each comparison taken alone: nothing is "
            "corrected for making 2 of them.");
}

TEST(StudyConclusion, ClaimsNothingFromTrialsThatAreMissing) {
  auto rows = example_rows();
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "plain" && row.setting.learning_rate == 0.001; });
  const std::string text = conclusion(example(), rows.all);
  EXPECT_TRUE(has(text, "This is what 25 of 28 runs show; the setting of 1 arm may still change.")) << text;
  EXPECT_TRUE(has(text, "No difference is given for normal and third (trials missing).")) << text;
  EXPECT_FALSE(has(text, "interval")) << text;
}

TEST(StudyConclusion, SaysWhenNoRunIsIn) {
  EXPECT_EQ(conclusion(example(), {}), "None of 28 runs is in yet.");
  StudyExperiment experiment = example();
  for (StudyArm& arm : experiment.arms) arm.baseline.clear();
  EXPECT_TRUE(has(conclusion(experiment, example_rows().all), "No arm has a baseline, so nothing is compared."));
}

}  // namespace
}  // namespace anact::report
