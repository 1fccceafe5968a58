#include "study/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "support/message.h"
#include "support/temporary_folder.h"
#include "train/arm.h"

namespace anact::study {
namespace {

const std::string kPlan = R"(
title = "A plan"
question = "Which?"
[defaults]
arms = ["silu", "nsilu", "relu:name=third"]
lrs = [0.1, 0.01]
seeds = 3
trial_seeds = 1
[defaults.data]
validation = 0.2
[defaults.training]
epochs = 4
[[experiment]]
name = "shallow"
title = "Two layers"
[experiment.model]
depth = 2
[[experiment]]
name = "deep"
arms = ["silu", "nsilu"]
lrs = [0.001]
[experiment.model]
depth = 9
[experiment.training]
epochs = 5
)";

TEST(Plan, ExperimentsChangeTheDefaults) {
  const auto plan = parse_plan(kPlan, "folder/mine.toml");
  EXPECT_EQ(plan.name, "mine");
  EXPECT_EQ(plan.title, "A plan");
  EXPECT_EQ(plan.question, "Which?");
  ASSERT_EQ(plan.experiments.size(), 2U);
  const auto& shallow = plan.experiments[0];
  const auto& deep = plan.experiments[1];
  EXPECT_EQ(shallow.title, "Two layers");
  EXPECT_EQ(deep.title, "deep");
  EXPECT_EQ(shallow.arms.size(), 3U);
  EXPECT_EQ(deep.arms.size(), 2U);
  EXPECT_EQ(shallow.config.depth, 2);
  EXPECT_EQ(deep.config.depth, 9);
  EXPECT_EQ(shallow.config.epochs, 4);
  EXPECT_EQ(deep.config.epochs, 5);
  EXPECT_EQ(deep.config.validation, 0.2);
  ASSERT_EQ(shallow.trials.size(), 2U);
  EXPECT_EQ(shallow.trials[0].learning_rate, 0.01);
  EXPECT_EQ(shallow.trials[1].learning_rate, 0.1);
  EXPECT_EQ(run_count(shallow, {}), 3U * 2 + 3 * 2);
}

TEST(Plan, TrialsAreEveryRateWithEveryDecay) {
  const auto plan = parse_plan(
      "[[experiment]]\nname = \"a\"\narms = [\"silu\"]\nlrs = [1, 0.5, 1]\nweight_decays = [0, 1e-4]\n"
      "[experiment.data]\nvalidation = 0.1\n",
      "p");
  const std::vector<report::TrialSetting> expected{{0.5, 0}, {0.5, 1e-4}, {1, 0}, {1, 1e-4}};
  EXPECT_EQ(plan.experiments[0].trials, expected);
}

TEST(Plan, ErrorsNameThePlace) {
  const auto error = [](const std::string& text) { return message([&] { (void)parse_plan(text, "p.toml"); }); };
  const auto experiment = [&](const std::string& rest) {
    return error("[[experiment]]\nname = \"a\"\narms = [\"silu\", \"relu\"]\n" + rest);
  };
  EXPECT_EQ(error("x = 1\n"),
            "'p.toml', line 1, column 5: unknown key 'x'; there are title, question, defaults, experiment");
  EXPECT_EQ(error("title = 1\n"), "'p.toml', line 1, column 9: title: expected a text");
  EXPECT_EQ(error("title = \"t\"\n"), "'p.toml': expected at least one [[experiment]]");
  EXPECT_EQ(error("[[experiment]]\nseeds = 1\n"), "'p.toml', line 1, column 1: expected a name for the experiment");
  EXPECT_EQ(experiment("lrs = [\"fast\"]\n"), "'p.toml', line 4, column 7: lrs: expected a list of numbers");
  EXPECT_EQ(experiment("seeds = 1.5\n"), "'p.toml', line 4, column 9: seeds: expected a whole number");
  EXPECT_EQ(experiment("seeds = 0\n"),
            "'p.toml', line 1, column 1: experiment 'a': seeds is 0; it must be from 1 to 10000");
  EXPECT_EQ(experiment("seeds = 2\ntrial_seeds = 3\n"),
            "'p.toml', line 1, column 1: experiment 'a': trial_seeds is 3; it must be from 1 to 2");
  EXPECT_EQ(experiment("lrs = [0.1, 0.2]\n"),
            "'p.toml', line 1, column 1: experiment 'a': there is a choice to make, and validation is 0; choices are "
            "made on validation images, such as validation = 0.1 in [data]");
  EXPECT_EQ(experiment("keep = [\"rely\"]\n"),
            "'p.toml', line 1, column 1: experiment 'a': keep: unknown arm 'rely'; "
            "did you mean relu; there are silu, relu");
  EXPECT_EQ(experiment("[experiment.model]\ndept = 3\n").substr(0, 62),
            "'p.toml', line 5, column 8: unknown setting 'dept'; did you me");
  EXPECT_EQ(experiment("[experiment.training]\nlr = -1\n"),
            "'p.toml', line 1, column 1: experiment 'a': learning rate is -1; it must be positive and finite");
  EXPECT_EQ(experiment("[experiment.training]\nepochs = 0\n"),
            "'p.toml', line 1, column 1: experiment 'a': epochs is 0; a study needs at least 1");
  EXPECT_EQ(experiment("[experiment.experiment]\nseeds = 2\n"),
            "'p.toml', line 4, column 1: expected none of the settings of [experiment]; a plan has keys for them");
  EXPECT_NE(error("[[experiment]]\nname = \"a\"\narms = [\"silu:lr=0.1\"]\n").find("has lr=; a plan has lrs"),
            std::string::npos);
  EXPECT_NE(error("[[experiment]]\nname = \"a\"\narms = [\"sulu\"]\n").find("unknown activation 'sulu'"),
            std::string::npos);
  EXPECT_NE(error("[defaults]\narms = [\"silu\"]\n[[experiment]]\nname = \"a\"\n[[experiment]]\nname = \"a\"\n")
                .find("there is an experiment 'a'"),
            std::string::npos);
}

TEST(Plan, RunsAreBySeedSoThatPairsAreWhole) {
  const auto plan = parse_plan(kPlan, "p");
  const auto runs = planned_runs(plan, {});
  // The trials alone: what is chosen is not known yet.
  ASSERT_EQ(runs.size(), 3U * 2 + 2);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(runs[i].seed, 0);
  EXPECT_EQ(runs[0].arm, "silu");
  EXPECT_EQ(runs[1].arm, "silu");
  EXPECT_EQ(runs[4].arm, "third");
  EXPECT_EQ(runs[6].experiment->name, "deep");
  std::set<std::string> keys;
  for (const auto& run : runs) {
    keys.insert(run.key);
    EXPECT_EQ(run.config.arms.size(), 1U);
    EXPECT_EQ(run.config.first_seed, run.seed);
    EXPECT_EQ(run.config.learning_rate, run.setting.learning_rate);
    EXPECT_NO_THROW(train::validate(run.config));
  }
  EXPECT_EQ(keys.size(), runs.size());
}

report::StudyRow row_for(const PlannedRun& run, double validation, bool diverged = false) {
  report::StudyRow row;
  row.experiment = run.experiment->name;
  row.arm = run.arm;
  row.setting = run.setting;
  row.seed = static_cast<std::uint64_t>(run.seed);
  row.key = run.key;
  row.diverged = diverged;
  if (!diverged) row.validation_accuracy = validation;
  // The test images say the opposite, and are not asked.
  row.test_accuracy = 1 - validation;
  return row;
}

TEST(Plan, TheChosenSettingIsRunAtTheOtherSeeds) {
  auto plan = parse_plan(kPlan, "p");
  plan.experiments.pop_back();
  plan.experiments[0].finalists = 1;
  plan.experiments[0].keep = {"third"};
  std::vector<report::StudyRow> rows;
  for (const auto& run : planned_runs(plan, {})) {
    const double rate = run.setting.learning_rate;
    if (run.arm == "silu") rows.push_back(row_for(run, rate == 0.1 ? 0.9 : 0.8));
    if (run.arm == "nsilu") rows.push_back(row_for(run, 0.99, rate == 0.1));
    if (run.arm == "third") rows.push_back(row_for(run, rate == 0.1 ? 0.2 : 0.3));
  }
  const auto runs = planned_runs(plan, rows);
  // The best, the arm that it is compared with, and the one to keep.
  ASSERT_EQ(runs.size(), 6U + 3 * 2);
  EXPECT_EQ(run_count(plan.experiments[0], rows), runs.size());
  const std::vector<std::pair<std::string, double>> expected{{"silu", 0.1}, {"nsilu", 0.01}, {"third", 0.01}};
  for (std::size_t i = 6; i < runs.size(); ++i) {
    EXPECT_EQ(runs[i].seed, i < 9 ? 1 : 2);
    EXPECT_EQ(runs[i].arm, expected[i % 3].first);
    EXPECT_EQ(runs[i].setting.learning_rate, expected[i % 3].second);
  }
  // An arm that diverged at every setting has none to go on with.
  for (auto& row : rows) row.diverged = row.diverged || row.arm == "third";
  EXPECT_EQ(planned_runs(plan, rows).size(), 6U + 2 * 2);
}

TEST(Key, IsOfWhatChangesTheNumbers) {
  const auto key = [](const std::function<void(train::Config&)>& change) {
    train::Config config;
    config.arms = {"nsilu"};
    change(config);
    return key_of(config);
  };
  const auto same = key([](train::Config&) {});
  EXPECT_EQ(same.size(), 12U);
  EXPECT_EQ(same, key([](train::Config& c) { c.arms = {"nsilu:name=other"}; }));
  EXPECT_EQ(same, key([](train::Config& c) { c.arms = {"nsilu-deep"}; }));
  EXPECT_EQ(same, key([](train::Config& c) { c.threads = 7, c.workers = 3, c.data_path = "here", c.keep = 9; }));
  EXPECT_EQ(same, key([](train::Config& c) { c.widths = {3}, c.preset = "digits"; }));
  std::set<std::string> keys{same};
  const std::vector<std::function<void(train::Config&)>> changes{
      [](train::Config& c) { c.arms = {"silu"}; },
      [](train::Config& c) { c.arms = {"nsilu:momentum=0.2"}; },
      [](train::Config& c) { c.arms = {"nsilu:init=he"}; },
      [](train::Config& c) { c.learning_rate = 0.5; },
      [](train::Config& c) { c.weight_decay = 0.5; },
      [](train::Config& c) { c.first_seed = 1; },
      [](train::Config& c) { c.depth = 3; },
      [](train::Config& c) { c.epochs = 3; },
      [](train::Config& c) { c.validation = 0.1; },
      [](train::Config& c) { c.weight_scale = 2; },
      [](train::Config& c) { c.input_shift = 2; },
      [](train::Config& c) { c.image_size = 4; }};
  for (const auto& change : changes) EXPECT_TRUE(keys.insert(key(change)).second);
}

TEST(Studies, OfTheProjectCanAllBeRun) {
  std::set<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(ANACT_SOURCE_FOLDER) / "studies")) {
    const auto plan = load_plan(entry.path());
    names.insert(plan.name);
    EXPECT_FALSE(plan.question.empty()) << plan.name;
    const auto described = describe(plan, {}, "");
    ASSERT_EQ(described.experiments.size(), plan.experiments.size());
    for (std::size_t i = 0; i < plan.experiments.size(); ++i) {
      EXPECT_EQ(described.experiments[i].arms.size(), plan.experiments[i].arms.size());
      EXPECT_EQ(described.experiments[i].planned_runs, run_count(plan.experiments[i], {}));
    }
  }
  EXPECT_GE(names.size(), 2U);
}

}  // namespace
}  // namespace anact::study
