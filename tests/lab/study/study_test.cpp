#include "study/study.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "models/catalogue.h"
#include "support/message.h"
#include "support/temporary_folder.h"

namespace anact::study {
namespace {

using anact::test::content_of;
using anact::test::TemporaryFolder;

// Digits that a network learns in no time: the class is the brightest of ten pixels.
std::filesystem::path write_digits(const TemporaryFolder& folder) {
  std::string text;
  for (int i = 0; i < 1797; ++i) {
    const int label = (i * 7 + i / 13) % 10;
    for (int pixel = 0; pixel < 64; ++pixel) {
      text += std::to_string(pixel == label ? 16 : (i * 31 + pixel * 17) % 5) + ",";
    }
    text += std::to_string(label) + "\n";
  }
  return folder.write("digits.csv", text);
}

class Study : public testing::Test {
 protected:
  [[nodiscard]] Plan plan(const std::string& more = "", const std::string& arms = R"("silu", "nsilu")") const {
    return parse_plan("title = \"t\"\n[defaults]\narms = [" + arms + "]\n" + more + "[defaults.data]\npath = \"" +
                          data_.string() +
                          "\"\nvalidation = 0.1\ntrain_samples = 200\ntest_samples = 100\n"
                          "[defaults.model]\ndepth = 2\nwidth = 8\n"
                          "[defaults.training]\nepochs = 2\nthreads = 1\nworkers = 0\n"
                          "[[experiment]]\nname = \"small\"\n",
                      "plan.toml");
  }

  TemporaryFolder folder_;
  std::filesystem::path data_ = write_digits(folder_);
  std::filesystem::path output_ = folder_ / "out";
};

class Watcher : public StudyObserver {
 public:
  void step(const train::Progress& progress) override {
    if (on_step) on_step(progress);
  }
  void epoch_ended(const std::string& /*line*/, double /*seconds*/) override {}
  void run_ended(const train::Progress& /*progress*/, const train::RunResult& /*result*/) override {}
  void study_run_started(const PlannedRun& /*run*/, std::size_t done, std::size_t planned) override {
    starts.emplace_back(done, planned);
  }
  void study_run_ended(const PlannedRun& run, const report::StudyRow& row, std::size_t /*done*/,
                       std::size_t /*planned*/) override {
    EXPECT_EQ(run.key, row.key);
    ended.push_back(run.key);
    if (on_end) on_end();
  }

  std::function<void(const train::Progress&)> on_step;
  std::function<void()> on_end;
  std::vector<std::pair<std::size_t, std::size_t>> starts;
  std::vector<std::string> ended;
};

// What must be the same of two runs of one key: all but the time it took.
std::map<std::string, std::string> results_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> results;
  for (auto row : load_rows(folder)) {
    row.seconds = 0;
    EXPECT_TRUE(results.emplace(row.key, report::to_csv(row)).second) << "twice: " << row.key;
  }
  return results;
}

TEST_F(Study, EveryRunLeavesARow) {
  const auto plan = this->plan("lrs = [0.01, 1e30]\nseeds = 3\ntrial_seeds = 2\n");
  Watcher watcher;
  const std::atomic<bool> stop = false;
  ASSERT_TRUE(work(plan, output_, watcher, stop));
  const auto rows = load_rows(output_);
  // Two arms at two rates and two seeds, then at the rate that did not diverge.
  ASSERT_EQ(rows.size(), 8U + 2);
  EXPECT_EQ(watcher.starts.front(), (std::pair<std::size_t, std::size_t>{0, 10}));
  EXPECT_EQ(watcher.starts.back(), (std::pair<std::size_t, std::size_t>{9, 10}));
  for (const auto& row : rows) {
    const bool lost = row.setting.learning_rate > 1;
    EXPECT_EQ(row.experiment, "small");
    EXPECT_EQ(row.diverged, lost);
    EXPECT_FALSE(row.processor.empty());
    EXPECT_FALSE(row.instruction_set.empty());
    EXPECT_FALSE(row.version.empty());
    EXPECT_EQ(row.threads, 1);
    EXPECT_TRUE(std::isnan(row.forward_property));
    if (lost) {
      EXPECT_NEAR(row.loss_area, std::log(10.0), 1e-6);
      EXPECT_TRUE(std::isnan(row.test_accuracy));
      continue;
    }
    EXPECT_EQ(row.epochs, 2);
    EXPECT_EQ(row.steps, 2 * 4);  // 200 samples in batches of 64
    ASSERT_EQ(row.train_losses.size(), 2U);
    EXPECT_NEAR(row.loss_area, (row.train_losses[0] + row.train_losses[1]) / 2, 1e-3);
    EXPECT_NEAR(row.train_loss, row.train_losses[1], 1e-3);
    ASSERT_EQ(row.validation_accuracies.size(), 2U);
    EXPECT_NEAR(row.validation_accuracy, row.validation_accuracies[1], 1e-4);
    EXPECT_NEAR(row.test_accuracy, row.test_accuracies[1], 1e-4);
    EXPECT_GE(row.test_accuracy, 0);
  }
  EXPECT_EQ(rows.back().seed, 2U);
  EXPECT_EQ(anact::test::names_in(output_), (std::set<std::string>{"rows.csv"}));

  // All is done: nothing is trained again.
  const auto before = content_of(output_ / "rows.csv");
  Watcher again;
  ASSERT_TRUE(work(plan, output_, again, stop));
  EXPECT_TRUE(again.ended.empty());
  EXPECT_EQ(content_of(output_ / "rows.csv"), before);
}

TEST_F(Study, GoesOnWithWhatIsMissing) {
  const auto plan = this->plan("seeds = 2\ntrial_seeds = 2\n");
  Watcher watcher;
  std::atomic<bool> stop = false;
  ASSERT_TRUE(work(plan, output_, watcher, stop));
  const auto whole = results_of(output_);

  // Stopped in the middle of its third run, between two epochs and within one.
  for (const std::int64_t at : {6, 5}) {
    std::filesystem::remove_all(output_);
    Watcher stopped;
    stopped.on_step = [&](const train::Progress& progress) {
      if (stopped.ended.size() == 2 && progress.step == at) stop = true;
    };
    stop = false;
    EXPECT_FALSE(work(plan, output_, stopped, stop));
    EXPECT_EQ(load_rows(output_).size(), 2U);
    // And killed while it wrote a row.
    std::ofstream(output_ / "rows.csv", std::ios::app) << "small,silu,0.00";
    stop = false;
    Watcher rest;
    EXPECT_TRUE(work(plan, output_, rest, stop));
    EXPECT_EQ(rest.ended.size(), 2U);
    EXPECT_EQ(results_of(output_), whole);
  }
}

TEST_F(Study, AChangedPlanKeepsTheRowsOfWhatWasNot) {
  const std::atomic<bool> stop = false;
  Watcher watcher;
  ASSERT_TRUE(work(plan("", R"("silu", "relu")"), output_, watcher, stop));
  const auto changed = plan("", R"("relu:name=other", "nsilu")");
  EXPECT_EQ(remaining(changed, load_rows(output_))[0].done, 1U);
  Watcher again;
  ASSERT_TRUE(work(changed, output_, again, stop));
  EXPECT_EQ(again.ended.size(), 1U);
  const auto rows = rows_of(changed, load_rows(output_));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].arm, "other");
  EXPECT_EQ(rows[1].arm, "nsilu");
  EXPECT_EQ(load_rows(output_).size(), 3U);
}

TEST_F(Study, SaysWhatIsLeft) {
  const auto plan = this->plan("lrs = [0.01, 0.02]\nseeds = 2\ntrial_seeds = 1\n");
  const auto nothing = remaining(plan, {});
  ASSERT_EQ(nothing.size(), 1U);
  EXPECT_EQ(nothing[0].planned, 4U + 2);
  EXPECT_TRUE(std::isnan(nothing[0].seconds));
  auto rows = std::vector<report::StudyRow>(2);
  const auto runs = planned_runs(plan, {});
  for (std::size_t i = 0; i < 2; ++i) {
    rows[i].key = runs[i].key;
    rows[i].seconds = i == 0 ? 1 : 3;
  }
  const auto some = remaining(plan, rows);
  EXPECT_EQ(some[0].done, 2U);
  EXPECT_EQ(some[0].seconds, 2 * 4);
}

TEST_F(Study, MeasuresDistancesWhereThePlanWantsThem) {
  const std::atomic<bool> stop = false;
  Watcher watcher;
  ASSERT_TRUE(work(plan("measure_every = 2\n"), output_, watcher, stop));
  const auto rows = load_rows(output_);
  ASSERT_EQ(rows.size(), 2U);
  for (const auto& row : rows) {
    for (const double distance :
         {row.forward_property, row.backward_property, row.forward_growth, row.backward_growth}) {
      EXPECT_GT(distance, 0);
      EXPECT_TRUE(std::isfinite(distance));
    }
  }
  // Without normalization silu is further from the property.
  EXPECT_GT(rows[0].backward_property, 2 * rows[1].backward_property);
}

TEST_F(Study, AnErrorNamesTheExperiment) {
  auto broken = plan();
  broken.experiments[0].config.data_path = "/nowhere/digits.csv";
  const std::atomic<bool> stop = false;
  Watcher watcher;
  EXPECT_NE(message([&] { (void)work(broken, output_, watcher, stop); }).find("/nowhere/digits.csv"),
            std::string::npos);
}

TEST(Rows, SeveralWritersDoNotMix) {
  const TemporaryFolder folder;
  report::StudyRow row;
  row.experiment = row.arm = "x, \"y\"";
  row.classes = 2;
  row.processor = row.instruction_set = row.version = "z";
  std::vector<std::jthread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      auto mine = row;
      for (int i = 0; i < 25; ++i) {
        mine.key = std::to_string(writer) + "-" + std::to_string(i);
        append_row(folder.path(), mine);
      }
    });
  }
  writers.clear();
  const auto rows = load_rows(folder.path());
  EXPECT_EQ(rows.size(), 100U);
  std::map<std::string, int> keys;
  for (const auto& one : rows) ++keys[one.key];
  EXPECT_EQ(keys.size(), 100U);
}

}  // namespace
}  // namespace anact::study
