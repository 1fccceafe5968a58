#include "report/html.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "page/page_check.h"
#include "page/text.h"
#include "report/report.h"
#include "report/summary.h"
#include "run_folder.h"

namespace anact::report {
namespace {

using page::escape_html;
using page::test::count;
using page::test::first_unbalanced;
using page::test::has;
using test::RunFolder;

std::string page_of(const RunFolder& folder) {
  folder.save();
  return report_html(load_run(folder.path()));
}

std::string content_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST(Report, HasItsPartsInOrder) {
  RunFolder folder;
  folder.add_all();
  const std::string page = page_of(folder);
  std::size_t last = 0;
  for (const char* part :
       {"<!DOCTYPE html>", "<h1>2 arms compared on spirals", "2026-01-02T03:04:05Z", "<h2>Result</h2>",
        "<h2>All arms</h2>", "<h2>Test accuracy by epoch</h2>", "<h2>Loss by epoch</h2>",
        "<h2>How the gradient passes through the layers</h2>", "<h2>How the signal passes through the layers</h2>",
        "<h2>The factor λ through training</h2>", "<summary>Every run</summary>", "<summary>Configuration</summary>",
        "<summary>Environment</summary>", "<summary>How to repeat it</summary>", "anact compare --preset tiny"}) {
    const std::size_t at = page.find(part, last);
    ASSERT_NE(at, std::string::npos) << part;
    last = at;
  }
  EXPECT_TRUE(has(page, escape_html(conclusion(load_run(folder.path())))));
  EXPECT_TRUE(has(page, "<td class=\"sure\">▲ +20.00 <span class=\"pm\">± 4.97</span></td>"));
  EXPECT_FALSE(has(page, "class=\"banner"));
  // The data's checksum tells a reader nothing; it stands in the configuration alone.
  EXPECT_FALSE(has(page.substr(0, page.find("<h2>Result</h2>")), "0a1b2c3d"));
  EXPECT_EQ(first_unbalanced(page), "");
}

TEST(Report, ShowsEachMetricThatARunWrites) {
  RunFolder folder({0});
  folder.config["arms"].erase(1);
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    test::Json line = {{"event", "epoch"}, {"arm", "plain"}, {"seed", 0}, {"epoch", epoch}, {"step", epoch}};
    // Unlike in any two: 0.101, 0.102, …
    double value = 0.1;
    for (const auto& metric : io::kMetrics) {
      value += 0.001;
      if (metric.presence != io::Presence::trained || epoch > 0) line[std::string(metric.name)] = value;
    }
    folder.add(line);
  }
  folder.add({{"event", "finished"}, {"arm", "plain"}, {"seed", 0}, {"status", "completed"}, {"skipped_batches", 0}});
  const std::string page = page_of(folder);
  EXPECT_TRUE(has(page, "plain: epoch 1, 10.8"));  // top 5, as a line
  const std::string runs = page.substr(page.find("<summary>Every run</summary>"));
  double value = 0.1;
  for (const auto& metric : io::kMetrics) {
    value += 0.001;
    const bool percent = metric.unit == io::Unit::fraction;
    EXPECT_TRUE(has(runs, std::string(metric.title) + (percent ? ", %" : "") + "</th>")) << metric.name;
    EXPECT_TRUE(has(runs, percent ? page::fixed(100 * value, 2) : page::fixed(value, 3))) << metric.name;
  }
}

TEST(Report, DoesWithoutTheTopFive) {
  RunFolder folder;
  folder.add_all();
  const std::string page = page_of(folder);
  EXPECT_FALSE(has(page, "Top-5 accuracy"));
  EXPECT_EQ(first_unbalanced(page), "");
}

TEST(Report, NeedsNoNetwork) {
  RunFolder folder;
  folder.add_all();
  const std::string page = page_of(folder);
  EXPECT_EQ(page::test::first_from_outside(page), "");
}

TEST(Report, EscapesHostileNames) {
  RunFolder folder({0});
  const std::string hostile = "<script>alert(1)</script>\"'&\x01";
  folder.config["arms"][1]["name"] = hostile;
  folder.config["arms"][1]["activation"] = hostile;
  folder.config["data"]["name"] = hostile;
  folder.config["model"][hostile] = hostile;
  folder.config["arguments"] = {hostile};
  folder.environment[hostile] = hostile;
  folder.status = {{"state", "partial"}, {"reason", hostile}, {"seconds", 1}};
  folder.add_completed("plain", 0, 0.5);
  folder.add_epoch(hostile, 0, 0, 0.1);
  folder.add({{"event", "diverged"}, {"arm", hostile}, {"seed", 0}, {"epoch", 1}, {"step", 1}, {"reason", hostile}});
  const std::string page = page_of(folder);
  EXPECT_FALSE(has(page, "<script>alert"));
  EXPECT_FALSE(has(page, "\x01"));
  EXPECT_TRUE(has(page, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\uFFFD"));
  EXPECT_EQ(first_unbalanced(page), "");
}

TEST(Report, ShowsThatARunIsPartial) {
  RunFolder folder;
  folder.add_completed("plain", 0, 0.5);
  folder.add_epoch("plain", 1, 0, 0.1);
  folder.status = {{"state", "partial"}, {"reason", "interrupted by SIGINT"}, {"seconds", 1}};
  const std::string page = page_of(folder);
  EXPECT_TRUE(has(page, "This run is partial.</strong> 1 of 6 runs have ended: interrupted by SIGINT."));
  EXPECT_TRUE(has(page, "<td class=\"left\">not ended</td>"));
  EXPECT_EQ(first_unbalanced(page), "");
}

TEST(Report, OfNothingButItsConfigurationIsWhole) {
  RunFolder folder;
  folder.status["state"] = "running";
  const std::string page = page_of(folder);
  EXPECT_TRUE(has(page, "0 of 6 runs have ended"));
  EXPECT_TRUE(has(page, "No values to draw"));
  EXPECT_FALSE(has(page, "The factor λ"));
  EXPECT_EQ(first_unbalanced(page), "");
}

TEST(Report, ShowsDivergedRunsAndCarriesNoLineOn) {
  RunFolder folder({0, 1});
  folder.add_completed("plain", 0, 0.5);
  folder.add_diverged("plain", 1);
  folder.add_completed("normal", 0, 0.6);
  folder.add_completed("normal", 1, 0.7);
  const std::string page = page_of(folder);
  EXPECT_TRUE(has(page, "Runs diverged.</strong> plain (1 of 2)"));
  EXPECT_TRUE(has(page, "diverged (epoch 2, step 15: loss is nan)"));
  EXPECT_TRUE(has(page, "<td class=\"reason\">plain diverged</td>"));
  EXPECT_TRUE(has(page, "class=\"cross\""));
  // Both runs of plain have epoch 1, only one has epoch 2.
  EXPECT_TRUE(has(page, "plain: epoch 1, 37.5 (20 to 55)"));
  EXPECT_FALSE(has(page, "plain: epoch 2"));
  EXPECT_TRUE(has(page, "normal: epoch 2, 65 (60 to 70)"));
  // The gradient's first layer, before training and after.
  EXPECT_EQ(count(page, "plain: layer 1, 0.001"), 1u);
  EXPECT_EQ(count(page, "normal: layer 1, 0.001"), 2u);
  EXPECT_TRUE(has(page, "Left out after the last epoch, since runs diverged: plain (1 of 2)."));
}

TEST(Report, AveragesLayersOnTheLogScale) {
  RunFolder folder({0, 1});
  folder.config["arms"].erase(1);
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    folder.add_epoch("plain", seed, 0, 0.1);
    folder.add({{"event", "layers"},
                {"arm", "plain"},
                {"seed", seed},
                {"epoch", 0},
                {"activation_second_moment", {seed == 0 ? 0.01 : 1.0}},
                {"gradient_variance", {seed == 0 ? 1e-4 : 0.0}}});
  }
  folder.status["state"] = "running";
  const std::string page = page_of(folder);
  EXPECT_TRUE(has(page, "plain: layer 1, 0.1"));
  EXPECT_TRUE(has(page, "1 point at or below zero"));
}

TEST(Report, QuotesTheCommandForTheShell) {
  RunFolder folder({0});
  folder.config["arguments"] = {"compare", "--output", "my run's", "--seeds", "0,1"};
  EXPECT_TRUE(has(page_of(folder), escape_html("anact compare --output 'my run'\\''s' --seeds 0,1")));
}

TEST(Report, IsTheSameEachTime) {
  RunFolder folder;
  folder.add_all();
  EXPECT_EQ(page_of(folder), page_of(folder));
}

TEST(WriteReport, WritesBothFilesAndNothingElse) {
  RunFolder folder;
  folder.add_all();
  folder.save();
  write_report(folder.path());
  const report::Run run = load_run(folder.path());
  EXPECT_EQ(content_of(folder.path() / "summary.csv"), summary_csv(run));
  EXPECT_EQ(content_of(folder.path() / "report.html"), report_html(run));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 6);
}

TEST(WriteReport, WritesNothingForABadRun) {
  RunFolder folder;
  folder.metrics = "{}\n";
  folder.save();
  EXPECT_THROW(write_report(folder.path()), std::runtime_error);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "summary.csv"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "report.html"));
}

}  // namespace
}  // namespace anact::report
