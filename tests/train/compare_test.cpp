#include "train/compare.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <stdexcept>

#include "io/file_size_limit.h"
#include "report/report.h"
#include "report/run.h"
#include "train/toy.h"

namespace anact::train {
namespace {

using namespace test;
using anact::test::FileSizeLimit;
using report::Outcome;

const std::atomic<bool> kGoOn = false;

// Threads that wait for each other on a busy machine would take most of the time.
class OneThread : public testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
[[maybe_unused]] const auto* const kOneThread = testing::AddGlobalTestEnvironment(new OneThread);

nlohmann::json json_of(const std::filesystem::path& path) { return nlohmann::json::parse(content_of(path)); }

std::vector<nlohmann::json> select(const std::vector<nlohmann::json>& events, const std::string& event,
                                   const std::string& arm) {
  std::vector<nlohmann::json> result;
  for (const auto& line : events) {
    if (line.at("event") == event && line.at("arm") == arm) result.push_back(line);
  }
  return result;
}

TEST(Compare, WritesAFolderThatTheReportReads) {
  const TemporaryFolder folder;
  Recorder recorder;
  auto options = toy_options({"silu", "nsilu", "relu:norm=batch"}, 2);
  options.first_seed = 5;
  options.arguments = {"compare", "--seeds", "2"};
  ASSERT_TRUE(compare(options, toy_data(), folder.path(), recorder, kGoOn));
  EXPECT_EQ(names_in(folder.path()),
            (std::set<std::string>{"config.json", "environment.json", "status.json", "metrics.jsonl"}));

  const auto run = report::load_run(folder.path());
  EXPECT_FALSE(run.partial);
  EXPECT_EQ(run.data_name, "toy");
  EXPECT_EQ(run.seeds, (std::vector<std::uint64_t>{5, 6}));
  EXPECT_EQ(run.arguments, options.arguments);
  ASSERT_EQ(run.arms.size(), 3u);
  EXPECT_FALSE(run.arms[0].baseline);
  EXPECT_EQ(run.arms[1].baseline, 0u);
  ASSERT_EQ(run.trials.size(), 6u);
  for (const auto& trial : run.trials) {
    EXPECT_EQ(trial.outcome, Outcome::completed);
    ASSERT_EQ(trial.epochs.size(), 3u);
    ASSERT_EQ(trial.layers.size(), 3u);
    EXPECT_FALSE(trial.epochs[0].train_loss.has_value());
    EXPECT_TRUE(trial.epochs[2].train_loss.has_value());
    for (const auto& layers : trial.layers) {
      EXPECT_EQ(layers.activation_second_moment.size(), 3u);
      EXPECT_EQ(layers.gradient_variance.size(), 3u);
      EXPECT_EQ(layers.lambda.size(), trial.arm == 1 ? 3u : 0u);
    }
  }
  EXPECT_NO_THROW(report::write_report(folder.path()));

  const auto config = json_of(folder / "config.json");
  EXPECT_EQ(config.at("model"), nlohmann::json::parse(R"({"name": "mlp", "depth": 3, "width": 16})"));
  EXPECT_EQ(config.at("training"), nlohmann::json::parse(R"({"epochs": 2, "batch_size": 8, "optimizer": "sgd",
                                                "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.0})"));
  EXPECT_EQ(config.at("data").at("train"), 43);
  const auto status = json_of(folder / "status.json");
  EXPECT_EQ(status.at("state"), "complete");
  EXPECT_EQ(status.at("runs_planned"), 6);
  EXPECT_EQ(status.at("runs_done"), 6);
  const auto environment = json_of(folder / "environment.json");
  for (const char* name : {"anact", "libtorch", "compiler", "build_type", "build_flags", "cpu", "cores",
                           "instruction_set", "threads", "os", "started"}) {
    EXPECT_TRUE(environment.contains(name)) << name;
  }

  // A seed's arms come one after another, so that a partial run holds whole pairs.
  std::vector<std::string> order;
  for (const auto& result : recorder.results) order.push_back(result.arm + std::to_string(result.seed));
  EXPECT_EQ(order,
            (std::vector<std::string>{"silu5", "nsilu5", "relu:norm=batch5", "silu6", "nsilu6", "relu:norm=batch6"}));
}

TEST(Compare, TheMetricsAreThoseOfTheSteps) {
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(compare(toy_options({"nsilu"}), toy_data(), folder.path(), recorder, kGoOn));
  const auto& losses = recorder.losses.at("nsilu 0");
  ASSERT_EQ(losses.size(), 12u);  // two epochs of five batches of 8 and one of 3
  const auto epochs = select(metrics_of(folder.path()), "epoch", "nsilu");
  ASSERT_EQ(epochs.size(), 3u);
  for (std::size_t epoch = 1; epoch <= 2; ++epoch) {
    double sum = 0;
    for (std::size_t i = 0; i < 6; ++i) sum += losses[6 * (epoch - 1) + i] * (i < 5 ? 8 : 3);
    EXPECT_NEAR(epochs[epoch].at("train_loss").get<double>(), sum / 43, 1e-12);
    EXPECT_EQ(epochs[epoch].at("step"), 6 * epoch);
    const double right = epochs[epoch].at("test_accuracy").get<double>() * 20;
    EXPECT_NEAR(right, std::round(right), 1e-9);
  }
  EXPECT_EQ(recorder.results.at(0).test_loss, epochs[2].at("test_loss").get<double>());
}

TEST(Compare, TheSameSeedGivesTheSameBitsOnAnyNumberOfThreads) {
  // Wide enough that both the matrix products and the activations are worth dividing among threads.
  auto options = toy_options({"silu", "nsilu", "nrelu", "selu", "silu-batchnorm"});
  options.width = 256;
  options.batch_size = 128;
  options.epochs = 1;
  const auto dataset = toy_data(300, 50, 64);
  const auto one = run_toy(options, dataset);
  const auto again = run_toy(options, dataset);
  at::set_num_threads(2);
  const auto two = run_toy(options, dataset);
  at::set_num_threads(1);
  ASSERT_EQ(one.size(), 5u * 5);
  EXPECT_TRUE(one == again);
  for (const auto& arm : options.arms) {
    // PyTorch's BatchNorm adds up in an order that depends on the number of threads.
    if (arm.normalization == Normalization::batch) continue;
    EXPECT_EQ(metrics_of_arm(one, arm.name), metrics_of_arm(two, arm.name)) << arm.name;
  }
  options.first_seed = 1;
  EXPECT_NE(metrics_of_arm(one, "silu"), metrics_of_arm(run_toy(options, dataset), "silu"));
}

TEST(Compare, ArmsThatDifferInNameOnlyGiveTheSameNumbers) {
  for (const std::string arm : {"silu", "nsilu", "nrelu:statistics=running", "silu-batchnorm"}) {
    const auto events = run_toy(toy_options({arm + ":name=a", arm + ":name=b"}, 2));
    EXPECT_NE(metrics_of_arm(events, "a"), "");
    EXPECT_EQ(metrics_of_arm(events, "a"), metrics_of_arm(events, "b")) << arm;
  }
}

TEST(Compare, AnArmDoesNotChangeAnother) {
  const auto together = run_toy(toy_options({"relu", "silu-batchnorm", "nsilu", "nmish:solution=exact"}, 2));
  const auto alone = run_toy(toy_options({"nsilu"}, 2));
  const auto nsilu = metrics_of_arm(together, "nsilu");
  EXPECT_NE(nsilu, "");
  EXPECT_EQ(nsilu, metrics_of_arm(alone, "nsilu"));
}

TEST(Compare, AllArmsSeeTheSameSamplesFromTheSameDraws) {
  // The first loss depends on the weights and the first batch alone, the second on the learning rate too.
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(compare(toy_options({"silu", "silu:lr=0.5:name=fast", "silu:init=lecun:name=small"}, 2), toy_data(),
                      folder.path(), recorder, kGoOn));
  const auto& losses = recorder.losses;
  EXPECT_EQ(losses.at("silu 0")[0], losses.at("fast 0")[0]);
  EXPECT_NE(losses.at("silu 0")[1], losses.at("fast 0")[1]);
  EXPECT_NE(losses.at("silu 0")[0], losses.at("small 0")[0]);
  EXPECT_NE(losses.at("silu 0")[0], losses.at("silu 1")[0]);
}

// What a run that breaks off leaves in metrics.jsonl.
void expect_diverged(const std::vector<nlohmann::json>& events, const std::string& arm, std::int64_t epoch) {
  SCOPED_TRACE(arm);
  const auto diverged = select(events, "diverged", arm);
  ASSERT_EQ(diverged.size(), 1u);
  EXPECT_EQ(diverged[0].at("epoch"), epoch);
  EXPECT_NE(diverged[0].at("reason"), "");
  const auto finished = select(events, "finished", arm);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].at("status"), "diverged");
  for (const auto& line : select(events, "epoch", arm)) {
    EXPECT_LT(line.at("epoch"), epoch);
    EXPECT_TRUE(line.at("test_loss").is_number());
  }
}

TEST(Compare, ARunThatDivergesIsRecordedAndTheOthersGoOn) {
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(compare(toy_options({"silu", "silu:lr=1e30:name=wild", "nsilu:lr=1e30:name=nwild", "relu"}, 2),
                      toy_data(), folder.path(), recorder, kGoOn));
  const auto events = metrics_of(folder.path());
  const auto run = report::load_run(folder.path());
  EXPECT_FALSE(run.partial);
  EXPECT_EQ(json_of(folder / "status.json").at("state"), "complete");
  EXPECT_EQ(recorder.results.size(), 8u);
  for (const auto& trial : run.trials) {
    const auto& name = run.arms[trial.arm].name;
    EXPECT_EQ(trial.outcome, name.ends_with("wild") ? Outcome::diverged : Outcome::completed) << name;
  }
  for (const auto& result : recorder.results) EXPECT_EQ(result.diverged, result.arm.ends_with("wild")) << result.arm;
  EXPECT_EQ(metrics_of_arm(events, "silu"), metrics_of_arm(run_toy(toy_options({"silu", "relu"}, 2)), "silu"));
  EXPECT_NO_THROW(report::write_report(folder.path()));
  EXPECT_NE(content_of(folder / "summary.csv").find("\nwild,2,,,,,2,"), std::string::npos);

  auto one_seed = toy_options({"silu:lr=1e30:name=wild"});
  expect_diverged(run_toy(one_seed), "wild", 1);
}

TEST(Compare, ALossThatIsNotFiniteOnTheTestSamplesIsADivergence) {
  // One step, whose training loss is that of the untouched weights: only the evaluation after it can tell.
  auto options = toy_options({"relu:lr=1e12"});
  options.epochs = 1;
  options.batch_size = 100;
  options.depth = 4;
  expect_diverged(run_toy(options), "relu:lr=1e12", 1);
}

TEST(Compare, ANetworkThatIsNotFiniteFromTheStartDiverges) {
  const TemporaryFolder folder;
  auto dataset = toy_data();
  dataset.test.inputs[3][2] = std::numeric_limits<float>::infinity();
  Recorder recorder;
  ASSERT_TRUE(compare(toy_options({"silu"}), dataset, folder.path(), recorder, kGoOn));
  expect_diverged(metrics_of(folder.path()), "silu", 0);
  EXPECT_TRUE(recorder.losses.empty());
  EXPECT_NO_THROW(report::write_report(folder.path()));
}

TEST(Compare, CountsTheBatchesThatTrainingSkippedAndNoOthers) {
  auto dataset = toy_data();
  dataset.train.inputs[3][2] = std::numeric_limits<float>::quiet_NaN();
  auto options = toy_options({"nsilu"});
  options.batch_size = 100;
  const auto events = run_toy(options, dataset);
  expect_diverged(events, "nsilu", 1);
  EXPECT_EQ(select(events, "finished", "nsilu").at(0).at("skipped_batches"), options.depth);  // one batch, each layer
}

TEST(Compare, StopsWhenTold) {
  const TemporaryFolder folder;
  std::atomic<bool> stop = false;
  Recorder recorder;
  recorder.on_step = [&](const Progress& progress) { stop = progress.run == 1 && progress.step == 8; };
  EXPECT_FALSE(compare(toy_options({"silu", "nsilu"}, 2), toy_data(), folder.path(), recorder, stop));
  EXPECT_EQ(recorder.losses.at("nsilu 0").size(), 8u);
  const auto status = json_of(folder / "status.json");
  EXPECT_EQ(status.at("state"), "partial");
  EXPECT_EQ(status.at("runs_done"), 1);
  EXPECT_EQ(status.at("runs_planned"), 4);
  EXPECT_NE(status.at("reason").get<std::string>().find("interrupted"), std::string::npos);
  const auto run = report::load_run(folder.path());
  EXPECT_TRUE(run.partial);
  ASSERT_EQ(run.trials.size(), 2u);
  EXPECT_EQ(run.trials[0].outcome, Outcome::completed);
  EXPECT_EQ(run.trials[1].outcome, Outcome::unfinished);
  EXPECT_EQ(run.trials[1].epochs.size(), 2u);
  EXPECT_NO_THROW(report::write_report(folder.path()));
}

TEST(Compare, ADiskThatFillsUpLeavesAPartialFolder) {
  const TemporaryFolder folder;
  Recorder recorder;
  std::string message;
  {
    const FileSizeLimit limit(4000);
    try {
      (void)compare(toy_options({"silu", "nsilu"}, 20), toy_data(), folder.path(), recorder, kGoOn);
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
  }
  EXPECT_EQ(message, "cannot write '" + (folder / "metrics.jsonl").string() + "': File too large");
  const auto status = json_of(folder / "status.json");
  EXPECT_EQ(status.at("state"), "partial");
  EXPECT_EQ(status.at("reason"), message);
  EXPECT_TRUE(content_of(folder / "metrics.jsonl").ends_with("}\n"));
  EXPECT_TRUE(report::load_run(folder.path()).partial);
}

TEST(Compare, AFolderThatCannotBeWrittenIsNamedBeforeTraining) {
  const TemporaryFolder folder;
  Recorder recorder;
  try {
    (void)compare(toy_options({"silu"}), toy_data(), folder / "missing", recorder, kGoOn);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("missing/config.json"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(recorder.losses.empty());
}

TEST(Compare, ALastBatchOfOneSampleIsLeftOut) {
  // BatchNorm has no variance of one sample.
  for (const char* arm : {"silu-batchnorm", "silu"}) {
    const TemporaryFolder folder;
    Recorder recorder;
    ASSERT_TRUE(compare(toy_options({arm}), toy_data(41), folder.path(), recorder, kGoOn));
    EXPECT_EQ(recorder.losses.at(std::string(arm) + " 0").size(), 10u);
  }
}

TEST(Validate, NamesTheNumberAndItsRange) {
  const auto message = [](const std::function<void(CompareOptions&)>& change) {
    auto options = toy_options({"silu"});
    change(options);
    try {
      validate(options);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message([](CompareOptions&) {}), "no error");
  EXPECT_EQ(message([](CompareOptions& o) { o.depth = 0; }), "depth is 0; it must be from 1 to 10000");
  EXPECT_EQ(message([](CompareOptions& o) { o.width = -3; }), "width is -3; it must be from 1 to 100000");
  EXPECT_EQ(message([](CompareOptions& o) { o.epochs = 0; }), "epochs is 0; it must be from 1 to 1000000");
  EXPECT_EQ(message([](CompareOptions& o) { o.batch_size = 1; }), "batch size is 1; it must be from 2 to 1000000");
  EXPECT_EQ(message([](CompareOptions& o) { o.seeds = 0; }), "seeds is 0; it must be from 1 to 10000");
  EXPECT_EQ(message([](CompareOptions& o) { o.first_seed = -1; }), "first seed is -1; it must be from 0 to 1000000000");
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (const double rate : {0.0, -1.0, nan, inf}) {
    EXPECT_TRUE(message([&](CompareOptions& o) { o.learning_rate = rate; }).starts_with("learning rate is ")) << rate;
  }
  for (const double momentum : {-0.1, 1.0, nan}) {
    EXPECT_TRUE(message([&](CompareOptions& o) { o.momentum = momentum; }).starts_with("momentum is ")) << momentum;
  }
  for (const double decay : {-0.1, nan, inf}) {
    EXPECT_TRUE(message([&](CompareOptions& o) { o.weight_decay = decay; }).starts_with("weight decay is ")) << decay;
  }
  EXPECT_EQ(message([](CompareOptions& o) { o.arms.clear(); }), "there are no arms to compare");
}

}  // namespace
}  // namespace anact::train
