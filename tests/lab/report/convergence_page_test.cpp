#include "report/convergence_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <stdexcept>

#include "page/page_check.h"
#include "page/text.h"

namespace anact::report {
namespace {

using page::test::count;
using page::test::has;

constexpr double kInf = std::numeric_limits<double>::infinity();

const std::string kHeader =
    "arm,family,normalized,seed,status,steps,forward_property_distance,backward_property_distance,"
    "forward_growth_distance,backward_growth_distance,loss_area,final_train_loss,train_accuracy,test_accuracy,"
    "best_test_accuracy,epochs_to_50,epochs_to_90\n";
const std::string kGood = "silu,silu,false,0,completed,100,0.5,0.7,0.1,0.2,1.5,0.3,0.9,0.8,0.85,2,\n";

std::string message_of(const std::string& text) {
  try {
    (void)parse_convergence(text, "runs.csv");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// kGood with one field replaced.
std::string good_but(std::size_t column, const std::string& value) {
  std::string row = kGood;
  std::size_t at = 0;
  for (std::size_t i = 0; i < column; ++i) at = row.find(',', at) + 1;
  return row.replace(at, row.find_first_of(",\n", at) - at, value);
}

StudyRun run_of(const std::string& arm, std::uint64_t seed, double distance, double loss_area) {
  StudyRun run;
  run.arm = arm;
  run.family = arm.substr(0, arm.find('-'));
  run.normalized = has(arm, "-");
  run.seed = seed;
  run.forward_property = 0.5 * distance;
  run.backward_property = 1.5 * distance;
  run.forward_growth = distance;
  run.backward_growth = 3 * distance;
  run.loss_area = loss_area;
  run.test_accuracy = 1 - 0.1 * loss_area;
  run.epochs_to = {2 * loss_area};
  return run;
}

const Correlation& find(const std::vector<Correlation>& all, const std::string& distance, const std::string& outcome,
                        const std::string& arms) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Correlation& c) {
    return c.distance == distance && c.outcome == outcome && c.arms == arms;
  });
  if (found == all.end()) throw std::out_of_range(distance + ", " + outcome + ", " + arms);
  return *found;
}

TEST(ParseConvergence, ReadsEveryColumn) {
  const ConvergenceStudy study = parse_convergence(
      kHeader + kGood + "\"a, b\",relu,true,3,diverged,7,inf,,nan,4,2.5,nan,,0.1,0.1,,\n", "runs.csv");
  EXPECT_EQ(study.thresholds, (std::vector<std::string>{"50", "90"}));
  ASSERT_EQ(study.runs.size(), 2u);
  const StudyRun& run = study.runs[0];
  EXPECT_EQ(run.arm, "silu");
  EXPECT_EQ(run.family, "silu");
  EXPECT_FALSE(run.normalized);
  EXPECT_FALSE(run.diverged);
  EXPECT_EQ(run.seed, 0u);
  EXPECT_EQ(run.steps, 100);
  EXPECT_EQ(run.forward_property, 0.5);
  EXPECT_EQ(run.backward_property, 0.7);
  EXPECT_EQ(run.forward_growth, 0.1);
  EXPECT_EQ(run.backward_growth, 0.2);
  EXPECT_EQ(run.loss_area, 1.5);
  EXPECT_EQ(run.final_train_loss, 0.3);
  EXPECT_EQ(run.train_accuracy, 0.9);
  EXPECT_EQ(run.test_accuracy, 0.8);
  EXPECT_EQ(run.best_test_accuracy, 0.85);
  EXPECT_EQ(run.epochs_to, (std::vector<double>{2, kInf}));
  const StudyRun& lost = study.runs[1];
  EXPECT_EQ(lost.arm, "a, b");
  EXPECT_TRUE(lost.normalized);
  EXPECT_TRUE(lost.diverged);
  EXPECT_EQ(lost.forward_property, kInf);
  EXPECT_TRUE(std::isnan(lost.backward_property));
  EXPECT_TRUE(std::isnan(lost.forward_growth));
  EXPECT_TRUE(std::isnan(lost.train_accuracy));
  EXPECT_EQ(lost.epochs_to, (std::vector<double>{kInf, kInf}));
}

TEST(ParseConvergence, NeedsNoEpochs) {
  const std::string header = kHeader.substr(0, kHeader.find(",epochs")) + "\n";
  const std::string row = kGood.substr(0, kGood.find(",2,\n")) + "\n";
  EXPECT_TRUE(parse_convergence(header + row, "runs.csv").thresholds.empty());
}

TEST(ParseConvergence, NamesWhatIsWrongWithTheHeader) {
  const std::string at = "'runs.csv', line 1: column ";
  EXPECT_EQ(message_of("arm,seed\n"), at + "2: expected 'family', found 'seed'");
  EXPECT_EQ(message_of("arm,family\n"), at + "3: expected 'normalized', found the end of the line");
  const std::string base = kHeader.substr(0, kHeader.size() - 1);
  EXPECT_EQ(message_of(base + ",seconds\n"), at + "18: expected 'epochs_to_' and a whole percentage, found 'seconds'");
  EXPECT_EQ(message_of(base + ",epochs_to_\n"),
            at + "18: expected 'epochs_to_' and a whole percentage, found 'epochs_to_'");
  EXPECT_EQ(message_of(base + ",epochs_to_9x\n"),
            at + "18: expected 'epochs_to_' and a whole percentage, found 'epochs_to_9x'");
  EXPECT_EQ(message_of(base + ",epochs_to_50\n"), at + "18: a second 'epochs_to_50'");
  EXPECT_EQ(message_of(kHeader), "'runs.csv', line 1: expected runs after the header, found none");
}

TEST(ParseConvergence, NamesTheLineAndTheColumn) {
  EXPECT_EQ(message_of(kHeader + kGood), "nothing was thrown");
  EXPECT_EQ(message_of(kHeader + kGood + "silu,silu"), "'runs.csv', line 3: expected 17 fields, found 2");
  const std::string at = "'runs.csv', line 2, column ";
  const auto error = [&](std::size_t column, const std::string& value) {
    return message_of(kHeader + good_but(column, value));
  };
  EXPECT_EQ(error(0, ""), at + "'arm': expected a name, found nothing");
  EXPECT_EQ(error(1, ""), at + "'family': expected a name, found nothing");
  EXPECT_EQ(error(2, "True"), at + "'normalized': expected true or false, found \"True\"");
  EXPECT_EQ(error(3, "-1"), at + "'seed': expected a whole number from 0 up, found \"-1\"");
  EXPECT_EQ(error(3, "x"), at + "'seed': expected a whole number, found \"x\"");
  EXPECT_EQ(error(4, "done"), at + "'status': expected completed or diverged, found \"done\"");
  EXPECT_EQ(error(5, ""), at + "'steps': expected a whole number, found nothing");
  EXPECT_EQ(error(6, ""), at + "'forward_property_distance': expected a number, found nothing");
  EXPECT_EQ(error(9, "-0.5"), at + "'backward_growth_distance': expected a distance from 0 up, found \"-0.5\"");
  EXPECT_EQ(error(10, "inf"), at + "'loss_area': expected a finite number, found \"inf\"");
  EXPECT_EQ(error(13, "80%"), at + "'test_accuracy': expected a number, found \"80%\"");
  EXPECT_EQ(error(15, "nan"), at + "'epochs_to_50': expected a number of epochs, or nothing, found \"nan\"");
}

TEST(ParseConvergence, FindsRunsThatContradictEachOther) {
  const std::string at = "'runs.csv', line 3, column ";
  EXPECT_EQ(message_of(kHeader + kGood + kGood), at + "'seed': expected a seed that this arm has not had, found \"0\"");
  EXPECT_EQ(message_of(kHeader + kGood + good_but(1, "relu")),
            at + "'family': expected \"silu\", which this arm's first run has, found \"relu\"");
  EXPECT_EQ(message_of(kHeader + kGood + good_but(2, "true")),
            at + "'normalized': expected false, which this arm's first run has, found \"true\"");
}

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

// Six arms of two families; the seeds of an arm lie further apart than the arms, in opposite orders.
ConvergenceStudy example() {
  ConvergenceStudy study{{"90"}, {}};
  const std::vector<std::string> arms = {"silu", "silu-a", "silu-b", "silu-c", "relu", "relu-a"};
  for (std::size_t i = 0; i < arms.size(); ++i) {
    const double place = static_cast<double>(i) + 1;
    study.runs.push_back(run_of(arms[i], 0, 0.1 * place + 0.05, place - 0.9));
    study.runs.push_back(run_of(arms[i], 1, 0.1 * place - 0.05, place + 0.9));
  }
  return study;
}

TEST(Correlations, AreOverTheMeansOfTheArms) {
  const auto all = correlations(example());
  // Three outcomes, six distances, three groups: relu has too few arms.
  EXPECT_EQ(all.size(), 3u * 6 * 3);
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
  ConvergenceStudy study = example();
  StudyRun& lost = study.runs[0];
  lost.diverged = true;
  lost.forward_property = std::numeric_limits<double>::quiet_NaN();
  lost.backward_growth = kInf;
  study.runs[2].epochs_to[0] = kInf;
  const auto all = correlations(study);
  EXPECT_EQ(find(all, "property", "loss_area", "all").count, 5u);
  EXPECT_EQ(find(all, "property", "loss_area", "all").value, 1);
  EXPECT_EQ(find(all, "backward_property", "loss_area", "all").count, 6u);
  EXPECT_EQ(find(all, "property", "loss_area", "never diverged").count, 5u);
  // The first of six moves to the last rank: 1 - 6 * (25 + 5) / 210 = 1/7.
  EXPECT_NEAR(find(all, "growth", "loss_area", "all").value.value(), 1.0 / 7, 1e-14);
  // The second moves to the last: 1 - 6 * (16 + 4) / 210 = 3/7.
  EXPECT_NEAR(find(all, "backward_property", "epochs_to_90", "all").value.value(), 3.0 / 7, 1e-14);
}

TEST(CorrelationsCsv, HasARowEach) {
  const std::vector<Correlation> rows = {{"property", "loss_area", "all", 6, 0.5, std::pair(-0.25, 1.0)},
                                         {"growth", "epochs_to_90", "family a,b", 4, 1.0 / 3, std::nullopt},
                                         {"growth", "test_accuracy", "all", 1, std::nullopt, std::nullopt}};
  EXPECT_EQ(correlations_csv(rows),
            "distance,outcome,arms,count,spearman,low,high\n"
            "property,loss_area,all,6,0.5,-0.25,1\n"
            "growth,epochs_to_90,\"family a,b\",4,0.333333,,\n"
            "growth,test_accuracy,all,1,,,\n");
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

TEST(ConvergenceConclusion, LeansNowhere) {
  const auto conclusion = [](double value, double low, double high) {
    return convergence_conclusion(
        std::vector<Correlation>{{"property", "loss_area", "all", 20, value, std::pair(low, high)}});
  };
  const std::string begin =
      "Over 20 arms the rank correlation between the distance from the property and the loss area is ";
  EXPECT_EQ(conclusion(0.5, 0.1, 0.8), begin + "+0.50 [+0.10, +0.80]: the interval excludes zero.");
  EXPECT_EQ(conclusion(-0.5, -0.8, -0.1), begin + "−0.50 [−0.80, −0.10]: the interval excludes zero.");
  EXPECT_EQ(conclusion(0.2, -0.1, 0.5), begin + "+0.20 [−0.10, +0.50]: the interval does not exclude zero.");
  EXPECT_EQ(convergence_conclusion(
                std::vector<Correlation>{{"property", "loss_area", "all", 2, std::nullopt, std::nullopt},
                                         {"property", "loss_area", "never diverged", 12, 0.25, std::pair(0.125, 0.5)}}),
            "Over 2 arms there is no rank correlation between the distance from the property and the loss area: one of "
            "the two does not vary. Over the 12 that never diverged the rank correlation between the distance from the "
            "property and the loss area is +0.25 [+0.12, +0.50]: the interval excludes zero.");
}

TEST(ConvergencePage, HasItsPartsInOrder) {
  const ConvergenceStudy study = example();
  const auto all = correlations(study);
  const std::string html = convergence_html({"A study", {{"Data", "digits"}}, study, all});
  std::size_t last = 0;
  for (const std::string& part :
       {std::string("<h1>A study</h1>"), std::string("<dd>digits</dd>"),
        std::string("<dd>12 runs of 6 arms, 0 of which diverged</dd>"), std::string("<h2>Result</h2>"),
        page::escape_html(convergence_conclusion(all)), std::string("distance from the property</text>"),
        std::string("distance from constant growth</text>"), std::string("<h2>Rank correlations</h2>"),
        std::string("<h2>All arms</h2>"), std::string("relu-a</th>")}) {
    const std::size_t at = html.find(part, last);
    ASSERT_NE(at, std::string::npos) << part;
    last = at;
  }
  // An arm a marker, in two charts; in their legends two families, plain and normalized.
  EXPECT_EQ(count(html, "<path class=\"marker\" d=\"M"), 2u * (4 + 2));
  EXPECT_EQ(count(html, "<path class=\"marker hollow\" d=\"M"), 2u * (2 + 2));
  EXPECT_EQ(count(html, "class=\"bar\""), 2u * 6);
  EXPECT_TRUE(has(html, "<title>silu-b: distance from the property 0.3, 3 (2.1 to 3.9)</title>"));
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
  EXPECT_EQ(page::test::first_from_outside(html), "");
}

TEST(ConvergencePage, NamesWhatItLeavesOut) {
  ConvergenceStudy study = example();
  for (std::size_t i : {0u, 10u}) {
    study.runs[i].diverged = true;
    study.runs[i].forward_property = std::numeric_limits<double>::quiet_NaN();
    study.runs[i].test_accuracy = std::numeric_limits<double>::quiet_NaN();
    study.runs[i].epochs_to[0] = kInf;
  }
  const auto all = correlations(study);
  const std::string html = convergence_html({"A study", {}, study, all});
  EXPECT_TRUE(has(html, "Left out, since the distance is not known of a run that diverged: silu and relu-a."));
  EXPECT_TRUE(has(html, "silu (1 of 2 diverged): distance from constant growth"));
  EXPECT_TRUE(has(html, "Over 4 arms the rank correlation"));
  EXPECT_TRUE(has(html, "<td class=\"bad\">1</td>"));
  EXPECT_TRUE(has(html, "<td>never</td>"));
  EXPECT_FALSE(has(html, ">nan"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

TEST(ConvergencePage, BearsOneArmOfOneSeed) {
  const ConvergenceStudy study{{}, {run_of("silu", 0, 0, 1)}};
  const auto all = correlations(study);
  const std::string html = convergence_html({"A study", {}, study, all});
  EXPECT_TRUE(has(html, "Over 1 arm there is no rank correlation"));
  EXPECT_TRUE(has(html, "No values to draw"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

TEST(ConvergencePage, EscapesNames) {
  ConvergenceStudy study = example();
  for (StudyRun& run : study.runs) run.arm = run.family = "<script>\"&";
  const auto all = correlations(study);
  const std::string html = convergence_html({"<script>", {{"<script>", "<script>"}}, study, all});
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

}  // namespace
}  // namespace anact::report
