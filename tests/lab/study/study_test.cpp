#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "anact/options.h"
#include "report/convergence_page.h"
#include "report/stability_page.h"
#include "study/convergence.h"
#include "study/stability.h"
#include "train/arm.h"
#include "train/toy.h"

namespace anact::study {
namespace {

using train::test::content_of;
using train::test::Recorder;
using train::test::TemporaryFolder;
using train::test::toy_config;
using train::test::toy_data;

LayerRecord weighted(std::int64_t step, double output, double gradient) {
  LayerRecord record;
  record.step = step;
  record.kind = LayerKind::linear;
  record.output.second_moment = output;
  record.output_gradient.second_moment = gradient;
  return record;
}

LayerRecord activation(std::int64_t step, double forward, double backward) {
  LayerRecord record;
  record.step = step;
  record.kind = LayerKind::activation;
  record.forward_property = forward;
  record.backward_property = backward;
  return record;
}

TEST(Distance, IsTheMeanOverLayersThenSteps) {
  const std::vector<LayerRecord> records{
      weighted(0, 1, 8),
      activation(0, 2, 0.5),
      weighted(0, 4, 2),
      activation(0, 0.5, 1),
      weighted(0, 2, 2),
      // A step with other values, and with a dead layer, which is left out.
      weighted(5, 1, 1),
      activation(5, 1, 0),
      weighted(5, 1, 1),
  };
  const auto distance = distance_of(records);
  const double log2 = std::log(2.0);
  EXPECT_NEAR(distance.forward_property, (log2 + 0) / 2, 1e-15);
  EXPECT_NEAR(distance.backward_property, log2 / 2, 1e-15);  // (log 2 + 0)/2 in step 0, nothing in step 5
  EXPECT_NEAR(distance.forward_growth, ((2 * log2 + log2) / 2 + 0) / 2, 1e-15);
  EXPECT_NEAR(distance.backward_growth, ((2 * log2 + 0) / 2 + 0) / 2, 1e-15);
}

TEST(Distance, OfNothingIsNotMeasured) {
  EXPECT_TRUE(std::isnan(distance_of({}).forward_property));
  EXPECT_TRUE(std::isnan(distance_of(std::vector<LayerRecord>{weighted(0, 1, 1)}).forward_growth));
}

// The names of the options that are not the default.
std::set<std::string> changed(const train::Arm& arm) {
  std::set<std::string> names;
  for (const auto& option : option_table()) {
    if (option.write(arm.anact.values()) != option.write(Options{})) names.emplace(option.name);
  }
  return names;
}

TEST(Studies, ConvergenceHasEveryActivationPlainAndNormalizedInItsWays) {
  using models::Initialization;
  std::map<std::string, std::vector<train::Arm>> families;
  for (const auto& arm : train::parse_arms(convergence_arms())) families[arm.activation.to_string()].push_back(arm);
  std::set<std::string> names;
  for (const auto& [name, arms] : families) names.insert(name);
  EXPECT_EQ(names, (std::set<std::string>{"relu", "silu", "gelu", "mish", "tanh", "elu", "selu"}));
  for (const auto& [name, arms] : families) {
    std::multiset<Initialization> plain;
    std::multiset<std::set<std::string>> normalized;
    for (const auto& arm : arms) {
      if (arm.normalization == train::Normalization::none) plain.insert(arm.initialization);
      if (arm.normalization == train::Normalization::anact) normalized.insert(changed(arm));
    }
    if (name == "selu") {
      EXPECT_EQ(arms.size(), 1U);
      continue;
    }
    // With the reference of batch normalization.
    EXPECT_EQ(arms.size(), name == "silu" ? 8U : 7U) << name;
    EXPECT_EQ(plain, (std::multiset<Initialization>{Initialization::he, Initialization::lecun, Initialization::gain}))
        << name;
    EXPECT_EQ(normalized,
              (std::multiset<std::set<std::string>>{
                  {}, {"target"}, {"solution", "target", "momentum"}, {"solution", "target", "gain", "momentum"}}))
        << name;
  }
}

TEST(Studies, StabilityChangesOneChoiceAtATime) {
  std::set<std::string> choices;
  bool with_default = false, with_paper = false;
  for (const auto& arm : train::parse_arms(stability_arms())) {
    if (arm.normalization != train::Normalization::anact || arm.activation.kind != ActivationKind::silu) continue;
    const auto options = changed(arm);
    if (arm.anact.values() == recipe_options(Recipe::paper)) {
      with_paper = true;
      continue;
    }
    const bool weights = arm.initialization != models::Initialization::orthogonal;
    EXPECT_LE(options.size() + (weights ? 1 : 0), 1U) << arm.name;
    with_default |= options.empty() && !weights;
    choices.insert(options.begin(), options.end());
    if (weights) choices.insert("weights");
  }
  EXPECT_TRUE(with_default);
  EXPECT_TRUE(with_paper);
  EXPECT_EQ(choices, (std::set<std::string>{"weights", "solution", "target", "statistics", "momentum", "gate", "bounds",
                                            "learnable"}));
}

TEST(Convergence, WritesARowForEveryRun) {
  const TemporaryFolder folder;
  Recorder recorder;
  const std::atomic<bool> stop = false;
  auto config = toy_config({"silu", "nsilu", "relu:lr=1e30:name=lost"}, 2);
  config.layer_samples = 0;
  const auto data = toy_data();
  ASSERT_TRUE(run_convergence(config, {.every = 2, .thresholds = {1, 100}}, {.command = "study", .arguments = {}}, data,
                              folder.path(), recorder, stop));
  const auto study = report::parse_convergence(content_of(folder / "runs.csv"), "runs.csv");
  ASSERT_EQ(study.runs.size(), 6U);
  EXPECT_EQ(study.thresholds, (std::vector<std::string>{"1", "100"}));
  for (const auto& run : study.runs) {
    EXPECT_EQ(run.diverged, run.arm == "lost");
    if (run.diverged) {
      // Nothing was learnt in either epoch.
      EXPECT_NEAR(run.loss_area, std::log(3.0), 1e-6);
      continue;
    }
    EXPECT_EQ(run.family, "silu");
    EXPECT_EQ(run.normalized, run.arm == "nsilu");
    EXPECT_EQ(run.epochs_to[0], 1);
    EXPECT_GT(run.forward_property, 0);
    // The mean of the losses of all steps, which have as many samples each but for the last.
    double sum = 0;
    const auto& losses = recorder.losses.at(run.arm + " " + std::to_string(run.seed));
    for (std::size_t i = 0; i < losses.size(); ++i) sum += losses[i] * ((i + 1) % 6 == 0 ? 3 : 8);
    EXPECT_NEAR(run.loss_area, sum / (2 * 43), 1e-5);
  }
  // Without normalization silu is further from the property: the runs are by arm, then by seed.
  EXPECT_GT(study.runs[0].backward_property, 2 * study.runs[2].backward_property);
}

TEST(Stability, VariesDepthAndLearningRate) {
  const TemporaryFolder folder;
  Recorder recorder;
  const std::atomic<bool> stop = false;
  auto config = toy_config({"silu", "nsilu"}, 2);
  config.layer_samples = 0;
  const auto data = toy_data();
  ASSERT_TRUE(run_stability(config, {.depths = {1, 2}, .learning_rates = {0.02, 1e30}},
                            {.command = "study", .arguments = {}}, data, folder.path(), recorder, stop));
  const auto runs = report::parse_stability(content_of(folder / "runs.csv"), "runs.csv");
  ASSERT_EQ(runs.size(), 16U);
  std::set<std::string> seen;
  for (const auto& run : runs) {
    seen.insert(run.arm + std::to_string(run.depth) + "/" + std::to_string(run.seed) +
                (run.lr > 1 ? "large" : "small"));
    EXPECT_EQ(run.diverged, run.lr > 1) << run.arm;
  }
  EXPECT_EQ(seen.size(), 16U);
}

TEST(Stability, RefusesWhatItCannotVary) {
  const TemporaryFolder folder;
  Recorder recorder;
  const std::atomic<bool> stop = false;
  const auto data = toy_data();
  auto config = toy_config({"silu:lr=0.1"});
  EXPECT_THROW((void)run_stability(config, {}, {}, data, folder.path(), recorder, stop), std::invalid_argument);
  config = toy_config({"silu"});
  config.model = "cnn";
  EXPECT_THROW((void)run_stability(config, {}, {}, data, folder.path(), recorder, stop), std::invalid_argument);
}

}  // namespace
}  // namespace anact::study
