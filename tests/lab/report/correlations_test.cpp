#include "report/correlations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>

#include "page/page_check.h"
#include "study_example.h"

namespace anact::report {
namespace {

using page::test::count;
using page::test::has;
using test::row_of;

constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(Spearman, AgreesWithAPublishedExample) {
  // Intelligence and hours of television of ten people: -29/165.
  const std::vector<double> x = {106, 100, 86, 101, 99, 103, 97, 113, 112, 110};
  const std::vector<double> y = {7, 27, 2, 50, 28, 29, 20, 12, 6, 17};
  EXPECT_NEAR(spearman(x, y).value(), -29.0 / 165, 1e-14);
}

TEST(Spearman, GivesTiesTheirMeanRank) {
  // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: 4.5 / sqrt(4.5 * 5).
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, 2, 3}, std::vector<double>{1, 3, 2, 4}).value(), std::sqrt(0.9),
              1e-14);
  // Ranks 2, 2, 2, 4 and 1.5, 1.5, 3, 4: the products sum to 3, the squares to 3 and 4.5.
  EXPECT_NEAR(spearman(std::vector<double>{7, 7, 7, 9}, std::vector<double>{0, 0, 1, 2}).value(),
              3 / std::sqrt(3 * 4.5), 1e-14);
}

TEST(Spearman, RanksInfinityLast) {
  EXPECT_EQ(spearman(std::vector<double>{1, kInf, 2}, std::vector<double>{-kInf, 4, 3}).value(), 1);
  EXPECT_NEAR(spearman(std::vector<double>{1, 2, kInf, kInf}, std::vector<double>{1, 2, 3, 4}).value(), std::sqrt(0.9),
              1e-14);
}

TEST(Spearman, NeedsTwoValuesThatDiffer) {
  EXPECT_FALSE(spearman(std::vector<double>{}, std::vector<double>{}));
  EXPECT_FALSE(spearman(std::vector<double>{1}, std::vector<double>{1}));
  EXPECT_FALSE(spearman(std::vector<double>{1, 1}, std::vector<double>{1, 2}));
  EXPECT_FALSE(spearman(std::vector<double>{1, 2}, std::vector<double>{kInf, kInf}));
}

TEST(SpearmanInterval, OfAPerfectOrderIsThatOrder) {
  std::vector<double> x(12), up(12), down(12);
  std::iota(x.begin(), x.end(), 0);
  std::transform(x.begin(), x.end(), up.begin(), [](double v) { return std::exp(v); });
  std::transform(x.begin(), x.end(), down.begin(), [](double v) { return -v * v; });
  EXPECT_EQ(spearman_interval(x, up).value(), std::pair(1.0, 1.0));
  EXPECT_EQ(spearman_interval(x, down).value(), std::pair(-1.0, -1.0));
}

TEST(SpearmanInterval, OfThreePairsIsWhatEnumerationGives) {
  // Of the 24 samples that vary, 12 have correlation 1, 6 have 0.5, and 6 have -1.
  EXPECT_EQ(spearman_interval(std::vector<double>{1, 2, 3}, std::vector<double>{1, 3, 2}).value(),
            std::pair(-1.0, 1.0));
  // Two pairs: the samples that vary have both.
  EXPECT_EQ(spearman_interval(std::vector<double>{1, 2}, std::vector<double>{1, 2}).value(), std::pair(1.0, 1.0));
}

TEST(SpearmanInterval, IsNoneWithoutVariation) {
  EXPECT_FALSE(spearman_interval(std::vector<double>{}, std::vector<double>{}));
  EXPECT_FALSE(spearman_interval(std::vector<double>{1, 1}, std::vector<double>{1, 2}));
}

// Mean ranks by counting, which is another way than sorting.
std::vector<double> plain_ranks(const std::vector<double>& values) {
  std::vector<double> ranks;
  for (const double value : values) {
    const auto below = std::count_if(values.begin(), values.end(), [&](double other) { return other < value; });
    const auto equal = std::count(values.begin(), values.end(), value);
    ranks.push_back(static_cast<double>(below) + 0.5 * static_cast<double>(equal + 1));
  }
  return ranks;
}

double plain_spearman(const std::vector<double>& x, const std::vector<double>& y) {
  const auto a = plain_ranks(x), b = plain_ranks(y);
  const auto n = static_cast<double>(x.size());
  double sa = 0, sb = 0, aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sa += a[i];
    sb += b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
  }
  return (ab - sa * sb / n) / std::sqrt((aa - sa * sa / n) * (bb - sb * sb / n));
}

TEST(SpearmanInterval, AgreesWithAPlainBootstrapByOtherDraws) {
  std::minstd_rand random(7);
  std::normal_distribution<double> noise;
  std::vector<double> x, y;
  for (int i = 0; i < 24; ++i) {
    x.push_back(std::round(4 * noise(random)));  // with ties
    y.push_back(x.back() + 4 * noise(random));
  }
  EXPECT_NEAR(spearman(x, y).value(), plain_spearman(x, y), 1e-13);
  std::uniform_int_distribution<std::size_t> index(0, x.size() - 1);
  std::vector<double> values;
  for (int draw = 0; draw < 10000; ++draw) {
    std::vector<double> a, b;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t chosen = index(random);
      a.push_back(x[chosen]);
      b.push_back(y[chosen]);
    }
    values.push_back(plain_spearman(a, b));
  }
  std::sort(values.begin(), values.end());
  const auto [low, high] = spearman_interval(x, y).value();
  EXPECT_NEAR(low, values[250], 0.03);
  EXPECT_NEAR(high, values[9750], 0.02);
  EXPECT_EQ(spearman_interval(x, y), spearman_interval(x, y)) << "the same each time";
}

// Six arms of two families at one setting; the seeds of an arm lie further apart than the arms, in opposite orders.
struct Example {
  StudyExperiment experiment{.name = "e", .title = "An experiment", .trials = {{0.1, 0}}, .seeds = 2, .trial_seeds = 2};
  std::vector<StudyRow> rows;

  Example() {
    const std::vector<std::string> arms = {"silu", "silu-a", "silu-b", "silu-c", "relu", "relu-a"};
    for (std::size_t i = 0; i < arms.size(); ++i) {
      const double place = static_cast<double>(i) + 1;
      add(arms[i], 0, 0.1 * place + 0.05, place - 0.9);
      add(arms[i], 1, 0.1 * place - 0.05, place + 0.9);
    }
  }

  void add(const std::string& arm, std::uint64_t seed, double distance, double loss_area) {
    if (seed == 0) {
      experiment.arms.push_back({.name = arm, .activation = arm.substr(0, arm.find('-')), .normalized = has(arm, "-")});
    }
    StudyRow row = row_of("e", arm, {0.1, 0}, seed);
    row.forward_property = 0.5 * distance;
    row.backward_property = 1.5 * distance;
    row.forward_growth = distance;
    row.backward_growth = 3 * distance;
    row.loss_area = loss_area;
    row.test_accuracy = 1 - 0.1 * loss_area;
    // 90 % is reached after so many epochs that the means are in the order of the loss area.
    row.train_accuracies.assign(static_cast<std::size_t>(std::lround(20 * loss_area)), 0.1);
    row.train_accuracies.push_back(0.9);
    rows.push_back(row);
  }

  void lose(std::size_t index) {
    StudyRow& row = rows[index];
    row.diverged = true;
    row.forward_property = row.test_accuracy = kUnknown;
    row.train_accuracies.pop_back();
  }

  [[nodiscard]] std::vector<Correlation> all() const { return correlations(experiment, rows); }
};

const Correlation& find(const std::vector<Correlation>& all, const std::string& distance, const std::string& outcome,
                        const std::string& arms) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Correlation& c) {
    return c.distance == distance && c.outcome == outcome && c.arms == arms;
  });
  if (found == all.end()) throw std::out_of_range(distance + ", " + outcome + ", " + arms);
  return *found;
}

TEST(Correlations, AreOverTheMeansOfTheArms) {
  const auto all = Example().all();
  // Six outcomes, six distances, three groups: relu has too few arms.
  EXPECT_EQ(all.size(), 6u * 6 * 3);
  for (const char* distance :
       {"property", "forward_property", "backward_property", "growth", "forward_growth", "backward_growth"}) {
    for (const auto& [outcome, sign] :
         {std::pair<std::string, double>{"loss_area", 1}, {"test_accuracy", -1}, {"epochs_to_90", 1}}) {
      for (const auto& [arms, number] :
           {std::pair<std::string, std::size_t>{"all", 6}, {"never diverged", 6}, {"family silu", 4}}) {
        const Correlation& found = find(all, distance, outcome, arms);
        EXPECT_EQ(found.count, number);
        EXPECT_EQ(found.value, sign);
        if (arms == "family silu") {
          EXPECT_FALSE(found.interval);
        } else {
          EXPECT_EQ(found.interval, std::pair(sign, sign));
        }
      }
    }
  }
}

TEST(Correlations, LeaveOutWhatIsNotKnownAndRankTheRest) {
  Example example;
  StudyRow& lost = example.rows[0];
  lost.diverged = true;
  lost.forward_property = kUnknown;
  lost.backward_growth = kInf;
  example.rows[2].train_accuracies.back() = 0.89;
  const auto all = example.all();
  EXPECT_EQ(find(all, "property", "loss_area", "all").count, 5u);
  EXPECT_EQ(find(all, "property", "loss_area", "all").value, 1);
  EXPECT_EQ(find(all, "backward_property", "loss_area", "all").count, 6u);
  EXPECT_EQ(find(all, "property", "loss_area", "never diverged").count, 5u);
  // The first of six moves to the last rank: 1 - 6 * (25 + 5) / 210 = 1/7.
  EXPECT_NEAR(find(all, "growth", "loss_area", "all").value.value(), 1.0 / 7, 1e-14);
  // The second moves to the last: 1 - 6 * (16 + 4) / 210 = 3/7.
  EXPECT_NEAR(find(all, "backward_property", "epochs_to_90", "all").value.value(), 3.0 / 7, 1e-14);
}

TEST(Correlations, CountEpochsToTheFirstThatHasTheAccuracy) {
  // By hand, of four arms: 2, 1, 3 and never for 50 %; all the same for 25 %.
  StudyExperiment experiment{.name = "e", .trials = {{0.1, 0}}};
  std::vector<StudyRow> rows;
  const std::vector<std::vector<double>> curves = {{0.3, 0.5, 0.4, 0.8}, {0.6, 0.7}, {0.25, 0.49, 0.55}, {0.3, 0.499}};
  for (std::size_t i = 0; i < curves.size(); ++i) {
    experiment.arms.push_back({.name = std::to_string(i), .activation = "silu"});
    StudyRow row = row_of("e", std::to_string(i), {0.1, 0}, 0);
    row.forward_growth = row.backward_growth = static_cast<double>(i);
    row.train_accuracies = curves[i];
    rows.push_back(row);
  }
  const auto all = correlations(experiment, rows);
  // Ranks 1 … 4 against 2, 1, 3, 4: 1 - 6 * 2 / 60.
  EXPECT_NEAR(find(all, "growth", "epochs_to_50", "all").value.value(), 0.8, 1e-14);
  EXPECT_FALSE(find(all, "growth", "epochs_to_25", "all").value);
  EXPECT_EQ(find(all, "property", "epochs_to_50", "all").count, 0u);
}

TEST(Correlations, TakeTheRunsAtTheChosenSetting) {
  Example example;
  example.experiment.trials.push_back({0.2, 0});
  const auto count_of_rows = example.rows.size();
  for (std::size_t i = 0; i < count_of_rows; ++i) {
    StudyRow worse = example.rows[i];
    example.rows[i].validation_accuracy = 0.9;
    worse.setting.learning_rate = 0.2;
    worse.validation_accuracy = 0.5;
    worse.loss_area = 100 - worse.loss_area;
    if (i == 11) {
      worse.diverged = true;
      worse.validation_accuracy = kUnknown;
    }
    example.rows.push_back(worse);
  }
  EXPECT_EQ(find(example.all(), "property", "loss_area", "all").value, 1);
  // An arm without a setting is left out.
  for (StudyRow& row : example.rows) row.diverged = row.diverged || row.arm == "relu";
  EXPECT_EQ(find(example.all(), "property", "loss_area", "all").count, 5u);
}

TEST(HasDistances, LooksOnlyAtTheExperiment) {
  Example example;
  EXPECT_TRUE(has_distances(example.experiment, example.rows));
  for (StudyRow& row : example.rows) row.experiment = "other";
  EXPECT_FALSE(has_distances(example.experiment, example.rows));
  StudyRow plain = row_of("e", "silu", {0.1, 0}, 0);
  EXPECT_FALSE(has_distances(example.experiment, std::vector{plain}));
  plain.backward_growth = kInf;
  EXPECT_TRUE(has_distances(example.experiment, std::vector{plain}));
}

TEST(CorrelationsCsv, HasARowEachOfTheExperimentsWithDistances) {
  Example example;
  Study study{.title = "A study", .experiments = {example.experiment, example.experiment}};
  study.experiments[1].name = "without";
  const std::string csv = correlations_csv(study, example.rows);
  EXPECT_EQ(count(csv, "\n"), 1u + 6 * 6 * 3);
  EXPECT_TRUE(
      csv.starts_with("experiment,distance,outcome,arms,count,spearman,low,high\n"
                      "e,property,loss_area,all,6,1,1,1\n"))
      << csv.substr(0, 200);
  EXPECT_TRUE(has(csv, "\ne,growth,test_accuracy,family silu,4,-1,,\n"));
  EXPECT_TRUE(has(csv, "\ne,growth,epochs_to_25,all,6,1,1,1\n"));
  example.lose(0);
  EXPECT_TRUE(has(correlations_csv(study, example.rows), "\ne,property,loss_area,all,5,1,1,1\n"));
  EXPECT_EQ(correlations_csv(study, {}), "experiment,distance,outcome,arms,count,spearman,low,high\n");
}

TEST(CorrelationsTable, HasAColumnADistance) {
  const std::string table = correlations_table(std::vector<Correlation>{
      {"property", "loss_area", "all", 6, 0.5, std::pair(-0.25, 1.0)},
      {"growth", "loss_area", "all", 5, -0.5, std::pair(-1.0, -0.1)},
      {"property", "loss_area", "family silu", 4, std::nullopt, std::nullopt},
  });
  EXPECT_EQ(
      table.find("| arms        | outcome   | count |             property | property, forward | property, backward |"
                 "                   growth | growth, forward | growth, backward |\n"),
      0u)
      << table;
  EXPECT_TRUE(has(table, "| all         | loss_area |     6 | +0.50 [−0.25, +1.00] |")) << table;
  EXPECT_TRUE(has(table, "| −0.50 [−1.00, −0.10] (5) |")) << table;
  EXPECT_TRUE(has(table, "| family silu | loss_area |     4 |                    – |")) << table;
  EXPECT_TRUE(has(table, "bootstrap"));
}

TEST(CorrelationsConclusion, LeansNowhere) {
  const auto conclusion = [](double value, double low, double high) {
    return correlations_conclusion(
        std::vector<Correlation>{{"property", "loss_area", "all", 20, value, std::pair(low, high)}});
  };
  const std::string begin =
      "Over 20 arms the rank correlation between the distance from the property and the loss area is ";
  EXPECT_EQ(conclusion(0.5, 0.1, 0.8), begin + "+0.50 [+0.10, +0.80]: the interval excludes zero.");
  EXPECT_EQ(conclusion(-0.5, -0.8, -0.1), begin + "−0.50 [−0.80, −0.10]: the interval excludes zero.");
  EXPECT_EQ(conclusion(0.2, -0.1, 0.5), begin + "+0.20 [−0.10, +0.50]: the interval does not exclude zero.");
  EXPECT_EQ(correlations_conclusion(
                std::vector<Correlation>{{"property", "loss_area", "all", 2, std::nullopt, std::nullopt},
                                         {"property", "loss_area", "never diverged", 12, 0.25, std::pair(0.125, 0.5)}}),
            "Over 2 arms there is no rank correlation between the distance from the property and the loss area: one of "
            "the two does not vary. Over the 12 that never diverged the rank correlation between the distance from the "
            "property and the loss area is +0.25 [+0.12, +0.50]: the interval excludes zero.");
}

TEST(CorrelationsConclusion, SaysNothingTwice) {
  const std::string text = correlations_conclusion(
      std::vector<Correlation>{{"property", "loss_area", "all", 5, 0.5, std::pair(0.1, 0.8)},
                               {"property", "loss_area", "never diverged", 5, 0.5, std::pair(0.1, 0.8)}});
  EXPECT_EQ(count(text, "rank correlation"), 1u) << text;
}

TEST(CorrelationsHtml, HasItsPartsInOrder) {
  const Example example;
  const std::string html = correlations_html(example.experiment, example.rows);
  std::size_t last = 0;
  for (const std::string& part :
       {std::string("and speed of training</h3>"), std::string("Over 6 arms the rank correlation"),
        std::string("distance from the property</text>"), std::string("distance from constant growth</text>"),
        std::string("<summary>All rank correlations</summary>"), std::string("never diverged</th>"),
        std::string("<summary>Distances and speed of every arm</summary>"), std::string("relu-a</th>")}) {
    const std::size_t at = html.find(part, last);
    ASSERT_NE(at, std::string::npos) << part;
    last = at;
  }
  // An arm a marker, in two charts; in their legend two families, plain and normalized.
  EXPECT_EQ(count(html, "<path class=\"marker\" d=\"M"), 2u * 4 + 2);
  EXPECT_EQ(count(html, "<path class=\"marker hollow\" d=\"M"), 2u * 2 + 2);
  EXPECT_EQ(count(html, "class=\"bar\""), 2u * 6);
  EXPECT_TRUE(has(html, "<title>silu-b: distance from the property 0.3, 3 (2.1 to 3.9)</title>"));
  EXPECT_FALSE(has(html, "Left out"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

TEST(CorrelationsHtml, NamesWhatItLeavesOut) {
  Example example;
  example.lose(0);
  example.lose(10);
  const std::string html = correlations_html(example.experiment, example.rows);
  EXPECT_TRUE(has(html, "Left out, since the distance is not known of every run: silu and relu-a."));
  EXPECT_TRUE(has(html, "silu (1 of 2 diverged): distance from constant growth"));
  EXPECT_TRUE(has(html, "Over 4 arms the rank correlation"));
  EXPECT_TRUE(has(html, "<td class=\"bad\">1</td>"));
  EXPECT_TRUE(has(html, "<td>never</td>"));
  EXPECT_FALSE(has(html, ">nan"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

TEST(CorrelationsHtml, BearsOneArmOfOneSeed) {
  Example example;
  example.experiment.arms.resize(1);
  example.rows.resize(1);
  example.rows[0].forward_property = example.rows[0].backward_property = 0;
  const std::string html = correlations_html(example.experiment, example.rows);
  EXPECT_TRUE(has(html, "Over 1 arm there is no rank correlation"));
  EXPECT_TRUE(has(html, "No values to draw"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

}  // namespace
}  // namespace anact::report
