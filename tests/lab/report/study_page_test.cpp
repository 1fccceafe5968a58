#include "report/study_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "page/page_check.h"
#include "page/text.h"
#include "study_example.h"

namespace anact::report {
namespace {

using page::test::count;
using page::test::has;
using test::Rows;

// Two arms, three rates at two seeds, then the chosen one at three.
Study example() {
  return {.title = "A study",
          .question = "What is better?",
          .command = "anact study run plan.toml",
          .experiments = {{.name = "e",
                           .title = "An experiment",
                           .settings = {{"Data", "digits"}},
                           .arms = {{.name = "plain", .text = "silu:name=plain", .activation = "silu"},
                                    {.name = "normal", .baseline = "plain", .activation = "silu", .normalized = true}},
                           .trials = {{0.001, 0}, {0.01, 0}, {0.1, 0}},
                           .seeds = 3,
                           .trial_seeds = 2,
                           .planned_runs = 14}}};
}

Rows example_rows() {
  Rows rows;
  rows.add("plain", {0.001, 0}, {0.70, 0.72}).add("plain", {0.01, 0}, {0.89, 0.93, 0.88});
  rows.add("plain", {0.1, 0}, {0.90, kUnknown});
  rows.add("normal", {0.1, 0}, {0.60, 0.49}).add("normal", {0.01, 0}, {0.99, 0.98, 0.97});
  rows.add("normal", {0.001, 0}, {0.86, 0.88});
  return rows;
}

// What every page has to hold.
void expect_sound(const std::string& html) {
  EXPECT_EQ(page::test::first_unbalanced(html), "");
  EXPECT_EQ(page::test::first_from_outside(html), "");
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_FALSE(has(html, ">nan"));
  EXPECT_FALSE(has(html, "No values to draw"));
}

void expect_in_order(const std::string& html, const std::vector<std::string>& parts) {
  std::size_t last = 0;
  for (const std::string& part : parts) {
    const std::size_t at = html.find(part, last);
    ASSERT_NE(at, std::string::npos) << part;
    last = at;
  }
}

// The charts of a page, each as its own text.
std::vector<std::string> charts_of(const std::string& html) {
  std::vector<std::string> charts;
  const std::string begin = "<svg class=\"chart";
  for (std::size_t at = html.find(begin); at != std::string::npos; at = html.find(begin, at + 1)) {
    charts.push_back(html.substr(at, html.find("</svg>", at) - at));
  }
  return charts;
}

TEST(StudyPage, HasItsPartsInOrder) {
  const Study study = example();
  const auto rows = example_rows();
  const std::string html = study_html(study, rows.all);
  expect_sound(html);
  expect_in_order(html,
                  {"<h1>A study</h1>",
                   "What is better?",
                   "<dd>anact study run plan.toml</dd>",
                   "<dd>14 runs of 1 experiment, 1 of which diverged</dd>",
                   "An experiment</h2>",
                   "<dd>digits</dd>",
                   "<dd>learning rates 0.001, 0.01 and 0.1; weight decay 0; each at 2 seeds, then every arm at 3</dd>",
                   page::escape_html(conclusion(study.experiments[0], rows.all)),
                   "All arms</h3>",
                   "normal</th>",
                   "Differences</h3>",
                   "against plain",
                   "By learning rate</h3>",
                   "By epoch</h3>",
                   "Test accuracy after each epoch",
                   "Training loss",
                   "<summary>Every trial</summary>",
                   "<summary>Arms as the plan has them</summary>",
                   "<dd>silu:name=plain</dd>",
                   "Where the runs were made</h2>",
                   "A processor</th>"});
  EXPECT_FALSE(has(html, "This study is partial"));
  EXPECT_FALSE(has(html, "What is missing"));
  EXPECT_FALSE(has(html, "class=\"contents\"")) << "for a single experiment";
  EXPECT_FALSE(has(html, "normalization property")) << "no distances";
}

TEST(StudyPage, DrawsTheMeansOfTheTrialsByRate) {
  const auto charts = charts_of(study_html(example(), example_rows().all));
  ASSERT_EQ(charts.size(), 3u);
  // On validation images, two points below the test images, over the two trial seeds.
  EXPECT_TRUE(has(charts[0], "<title>plain: learning rate 0.01, 89 (87 to 91)</title>")) << charts[0];
  EXPECT_TRUE(has(charts[0], "<title>normal: learning rate 0.1, 52.5 (47 to 58)</title>"));
  EXPECT_FALSE(has(charts[0], "plain: learning rate 0.1,"));
  EXPECT_EQ(count(charts[0], "class=\"cross\""), 1u) << "plain diverged at the next rate";
  // By epoch, over all three seeds at the chosen rate.
  EXPECT_TRUE(has(charts[1], "<title>plain: epoch 2, 90 (88 to 93)</title>")) << charts[1];
  EXPECT_TRUE(has(charts[2], "<title>normal: epoch 1, 2 (2 to 2)</title>"));
  EXPECT_EQ(count(charts[1], "class=\"cross\""), 0u);
}

TEST(StudyPage, ListsEveryTrial) {
  const std::string html = study_html(example(), example_rows().all);
  const std::string trials = html.substr(html.find("Every trial</summary>"));
  EXPECT_TRUE(has(trials, "<td>69.00</td><td class=\"sure\">89.00</td><td class=\"bad\">1 of 2 diverged</td>"))
      << trials;
  auto rows = example_rows();
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "plain" && row.seed == 1; });
  EXPECT_TRUE(has(study_html(example(), rows.all), "<td>68.00 (1 seed)</td>"));
}

TEST(StudyPage, EndsALineWhereItsRunsDiverged) {
  auto rows = example_rows();
  for (StudyRow& row : rows.all) {
    if (row.arm != "plain" || row.seed != 2) continue;
    row.diverged = true;
    row.test_accuracies.pop_back();
  }
  const std::string html = study_html(example(), rows.all);
  expect_sound(html);
  const auto charts = charts_of(html);
  EXPECT_EQ(count(charts[1], "class=\"cross\""), 1u);
  EXPECT_FALSE(has(charts[1], "plain: epoch 2"));
  EXPECT_TRUE(has(html, "where the first of its runs diverged"));
  EXPECT_TRUE(has(html, "diverged at 1 of 3 seeds"));
}

TEST(StudyPage, LeavesAGapAtARateThatDivergedBetweenOthers) {
  Rows rows;
  rows.add("plain", {0.001, 0}, {0.7, 0.8}).add("plain", {0.01, 0}, {0.7, kUnknown}).add("plain", {0.1, 0}, {0.7, 0.8});
  const auto charts = charts_of(study_html(example(), rows.all));
  EXPECT_EQ(count(charts[0], "<polyline"), 0u);
  EXPECT_EQ(count(charts[0], "<circle"), 2u);
}

TEST(StudyPage, SaysWhatIsMissing) {
  Study study = example();
  study.experiments.push_back(study.experiments[0]);
  study.experiments[1].name = "later";
  study.experiments[1].title = "Another";
  auto rows = example_rows();
  std::erase_if(rows.all, [](const StudyRow& row) { return row.arm == "normal" && row.setting.learning_rate > 0.05; });
  const std::string html = study_html(study, rows.all);
  expect_sound(html);
  expect_in_order(
      html, {"This study is partial.</strong> 12 of 28 runs are in.", "<a href=\"#experiment-1\">An experiment",
             "12 of 14 runs", "<a href=\"#experiment-2\">Another", "0 of 14 runs", "<h2 id=\"experiment-1\">",
             "This is what 12 of 14 runs show; the setting of 1 arm may still change.", "<h2 id=\"experiment-2\">",
             "None of 14 runs is in yet.", "What is missing</h2>",
             "An experiment</th><td>14</td><td>12</td><td>2</td><td>0</td><td>1</td>",
             "Another</th><td>14</td><td>0</td><td>14</td><td>2</td><td>0</td>"});
  EXPECT_EQ(charts_of(html).size(), 3u) << "none of the experiment without runs";
}

TEST(StudyPage, OfNoRunsSaysSo) {
  const std::string html = study_html(example(), {});
  expect_sound(html);
  EXPECT_TRUE(has(html, "None of 14 runs is in yet."));
  EXPECT_TRUE(charts_of(html).empty());
  EXPECT_FALSE(has(html, "Where the runs were made"));
  expect_sound(study_html({.title = "Nothing"}, {}));
}

TEST(StudyPage, BearsEveryFirstPartOfItsRows) {
  const auto rows = example_rows();
  for (std::size_t runs = 0; runs <= rows.all.size(); ++runs) {
    const std::span<const StudyRow> first(rows.all.data(), runs);
    expect_sound(study_html(example(), first));
  }
}

TEST(StudyPage, OfOneSettingHasNoRates) {
  Study study = example();
  study.experiments[0].trials = {{0.1, 0.5}};
  study.experiments[0].trial_seeds = 3;
  Rows rows;
  rows.add("plain", {0.1, 0.5}, {0.5, 0.6, 0.7}).add("normal", {0.1, 0.5}, {0.6, 0.7, 0.9});
  const std::string html = study_html(study, rows.all);
  expect_sound(html);
  EXPECT_TRUE(has(html, "<dd>learning rate 0.1; weight decay 0.5; 3 seeds</dd>"));
  EXPECT_FALSE(has(html, "By learning rate"));
  EXPECT_FALSE(has(html, "Every trial"));
  EXPECT_EQ(charts_of(html).size(), 2u);
}

TEST(StudyPage, SaysWhoGoesOn) {
  Study study = example();
  study.experiments[0].finalists = 5;
  EXPECT_TRUE(has(study_html(study, {}), "each at 2 seeds, then the best 5 arms and their baselines at 3<"));
  study.experiments[0].seeds = 2;
  EXPECT_TRUE(has(study_html(study, {}), "each at 2 seeds<"));
}

TEST(StudyPage, PutsNoMoreThanEightLinesInAChart) {
  for (const int variants : {1, 2, 6, 8, 9, 17}) {
    Study study = example();
    auto& experiment = study.experiments[0];
    experiment.arms.clear();
    Rows rows;
    for (const std::string activation : {"silu", "relu", "elu"}) {
      for (int i = 0; i < variants; ++i) {
        const std::string name = activation + std::to_string(i);
        experiment.arms.push_back({.name = name, .activation = activation});
        for (const TrialSetting& setting : experiment.trials) rows.add(name, setting, {0.5, 0.6});
      }
    }
    for (const std::string alone : {"selu", "mish"}) {
      experiment.arms.push_back({.name = alone, .activation = alone});
      for (const TrialSetting& setting : experiment.trials) rows.add(alone, setting, {0.5, 0.6});
    }
    const std::string html = study_html(study, rows.all);
    expect_sound(html);
    std::size_t lines = 0;
    for (const std::string& chart : charts_of(html)) {
      EXPECT_LE(count(chart, "<polyline"), 8u) << variants;
      lines += count(chart, "<polyline");
    }
    EXPECT_EQ(lines, 3 * experiment.arms.size()) << variants;
    EXPECT_EQ(has(html, "<h3>selu and mish</h3>"), variants > 2) << "those alone stand together";
    EXPECT_EQ(has(html, "<h3>silu, 2 of 2</h3>"), variants == 9);
    EXPECT_EQ(has(html, "<h3>silu, 3 of 3</h3>"), variants == 17);
  }
}

TEST(StudyPage, HasASectionForDistances) {
  auto rows = example_rows();
  for (StudyRow& row : rows.all) {
    row.forward_property = row.backward_property = row.forward_growth = row.backward_growth = row.test_accuracy + 0.1;
    row.loss_area = 1;
  }
  const std::string html = study_html(example(), rows.all);
  EXPECT_TRUE(has(html, "Distance from the normalization property, and speed of training</h3>"));
  EXPECT_EQ(page::test::first_unbalanced(html), "");
}

TEST(StudyPage, ListsMachinesWithTheirRuns) {
  auto rows = example_rows();
  rows.all[0].processor = "Another one";
  rows.all[1].threads = 4;
  rows.all.push_back(test::row_of("unheard of", "plain", {0.1, 0}, 0));
  const std::string html = study_html(example(), rows.all);
  EXPECT_TRUE(
      has(html, "A processor</th><td class=\"left\">AVX2</td><td>1</td><td class=\"left\">1.2.3</td><td>12</td>"));
  EXPECT_TRUE(
      has(html, "A processor</th><td class=\"left\">AVX2</td><td>4</td><td class=\"left\">1.2.3</td><td>1</td>"));
  EXPECT_TRUE(
      has(html, "Another one</th><td class=\"left\">AVX2</td><td>1</td><td class=\"left\">1.2.3</td><td>1</td>"));
}

TEST(StudyPage, EscapesNames) {
  Study study = example();
  auto rows = example_rows();
  const std::string bad = "<script>\"&";
  study.title = study.question = study.command = bad;
  auto& experiment = study.experiments[0];
  experiment.title = bad;
  experiment.settings = {{bad, bad}};
  experiment.arms[0] = {.name = bad, .text = bad, .activation = bad};
  experiment.arms[1].baseline = bad;
  for (StudyRow& row : rows.all) {
    if (row.arm == "plain") row.arm = bad;
    row.processor = row.version = row.instruction_set = bad;
  }
  expect_sound(study_html(study, rows.all));
}

}  // namespace
}  // namespace anact::report
