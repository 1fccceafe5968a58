#include "train/experiment.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <sstream>
#include <stdexcept>

#include "data/subset.h"
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

TEST(Experiment, WritesAFolderThatTheReportReads) {
  const TemporaryFolder folder;
  Recorder recorder;
  auto options = toy_config({"silu", "nsilu", "relu:norm=batch"}, 2);
  options.first_seed = 5;
  ASSERT_TRUE(train(options, {.command = "compare", .arguments = {"compare", "--seeds", "2"}}, toy_data(),
                    folder.path(), recorder, kGoOn));
  EXPECT_EQ(names_in(folder.path()), (std::set<std::string>{"config.json", "config.toml", "environment.json", "log.txt",
                                                            "metrics.csv", "metrics.jsonl", "status.json"}));

  const auto run = report::load_run(folder.path());
  EXPECT_FALSE(run.partial);
  EXPECT_EQ(run.data_name, "toy");
  EXPECT_EQ(run.seeds, (std::vector<std::uint64_t>{5, 6}));
  EXPECT_EQ(run.arguments, (std::vector<std::string>{"compare", "--seeds", "2"}));
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
  EXPECT_EQ(config.at("model"),
            nlohmann::json::parse(R"({"name": "mlp", "depth": 3, "width": 16, "batch_norm": "off"})"));
  EXPECT_EQ(config.at("training").at("lr"), 0.02);
  EXPECT_FALSE(config.at("training").contains("beta1"));
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

TEST(Experiment, TheMetricsAreThoseOfTheSteps) {
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(train(toy_config({"nsilu"}), {}, toy_data(), folder.path(), recorder, kGoOn));
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

TEST(Experiment, TheSameSeedGivesTheSameBitsOnAnyNumberOfThreads) {
  // Wide enough that both the matrix products and the activations are worth dividing among threads.
  auto options = toy_config({"silu", "nsilu", "nrelu", "selu", "silu-batchnorm"});
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
  for (const auto& arm : parse_arms(options.arms)) {
    // PyTorch's BatchNorm adds up in an order that depends on the number of threads.
    if (arm.norm == models::Norm::batch) continue;
    EXPECT_EQ(metrics_of_arm(one, arm.name), metrics_of_arm(two, arm.name)) << arm.name;
  }
  options.first_seed = 1;
  EXPECT_NE(metrics_of_arm(one, "silu"), metrics_of_arm(run_toy(options, dataset), "silu"));
}

TEST(Experiment, ArmsThatDifferInNameOnlyGiveTheSameNumbers) {
  for (const std::string arm : {"silu", "nsilu", "nrelu:statistics=running", "silu-batchnorm"}) {
    const auto events = run_toy(toy_config({arm + ":name=a", arm + ":name=b"}, 2));
    EXPECT_NE(metrics_of_arm(events, "a"), "");
    EXPECT_EQ(metrics_of_arm(events, "a"), metrics_of_arm(events, "b")) << arm;
  }
}

TEST(Experiment, AnArmDoesNotChangeAnother) {
  const auto together = run_toy(toy_config({"relu", "silu-batchnorm", "nsilu", "nmish:solution=exact"}, 2));
  const auto alone = run_toy(toy_config({"nsilu"}, 2));
  const auto nsilu = metrics_of_arm(together, "nsilu");
  EXPECT_NE(nsilu, "");
  EXPECT_EQ(nsilu, metrics_of_arm(alone, "nsilu"));
}

TEST(Experiment, AllArmsSeeTheSameSamplesFromTheSameDraws) {
  // The first loss depends on the weights and the first batch alone, the second on the learning rate too.
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(train(toy_config({"silu", "silu:lr=0.5:name=fast", "silu:init=lecun:name=small"}, 2), {}, toy_data(),
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

TEST(Experiment, ARunThatDivergesIsRecordedAndTheOthersGoOn) {
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(train(toy_config({"silu", "silu:lr=1e30:name=wild", "nsilu:lr=1e30:name=nwild", "relu"}, 2), {},
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
  EXPECT_EQ(metrics_of_arm(events, "silu"), metrics_of_arm(run_toy(toy_config({"silu", "relu"}, 2)), "silu"));
  EXPECT_NO_THROW(report::write_report(folder.path()));
  EXPECT_NE(content_of(folder / "summary.csv").find("\nwild,2,,,,,2,"), std::string::npos);

  auto one_seed = toy_config({"silu:lr=1e30:name=wild"});
  expect_diverged(run_toy(one_seed), "wild", 1);
}

TEST(Experiment, ALossThatIsNotFiniteOnTheTestSamplesIsADivergence) {
  // One step, whose training loss is that of the untouched weights: only the evaluation after it can tell.
  auto options = toy_config({"relu:lr=1e12"});
  options.epochs = 1;
  options.batch_size = 100;
  options.depth = 4;
  expect_diverged(run_toy(options), "relu:lr=1e12", 1);
}

// Pixels are finite; standardized by so small a deviation they are not.
data::Dataset infinite(data::Dataset dataset) {
  dataset.deviation = {1e-44};
  return dataset;
}

TEST(Experiment, ANetworkThatIsNotFiniteFromTheStartDiverges) {
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(train(toy_config({"silu"}), {}, infinite(toy_data()), folder.path(), recorder, kGoOn));
  expect_diverged(metrics_of(folder.path()), "silu", 0);
  EXPECT_TRUE(recorder.losses.empty());
  EXPECT_NO_THROW(report::write_report(folder.path()));
}

TEST(Experiment, CountsTheBatchesThatTrainingSkippedAndNoOthers) {
  auto config = toy_config({"nsilu", "nsilu:lr=1e30:name=wild"});
  const auto events = run_toy(config);
  EXPECT_EQ(select(events, "finished", "nsilu").at(0).at("skipped_batches"), 0);
  // The loss of the second step is not finite, and neither is what its layers saw.
  const auto skipped = select(events, "finished", "wild").at(0).at("skipped_batches");
  EXPECT_GE(skipped, 1);
  EXPECT_LE(skipped, config.depth);
}

TEST(Experiment, StopsWhenTold) {
  const TemporaryFolder folder;
  std::atomic<bool> stop = false;
  Recorder recorder;
  recorder.on_step = [&](const Progress& progress) { stop = progress.run == 1 && progress.step == 8; };
  EXPECT_FALSE(train(toy_config({"silu", "nsilu"}, 2), {}, toy_data(), folder.path(), recorder, stop));
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

TEST(Experiment, ADiskThatFillsUpLeavesAPartialFolder) {
  const TemporaryFolder folder;
  Recorder recorder;
  std::string message;
  {
    const FileSizeLimit limit(8000);
    try {
      (void)train(toy_config({"silu", "nsilu"}, 20), {}, toy_data(), folder.path(), recorder, kGoOn);
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

TEST(Experiment, AFolderThatCannotBeWrittenIsNamedBeforeTraining) {
  const TemporaryFolder folder;
  Recorder recorder;
  try {
    (void)train(toy_config({"silu"}), {}, toy_data(), folder / "missing", recorder, kGoOn);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("missing/config.json"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(recorder.losses.empty());
}

TEST(Experiment, ALastBatchOfOneSampleIsLeftOut) {
  // BatchNorm has no variance of one sample.
  for (const char* arm : {"silu-batchnorm", "silu"}) {
    const TemporaryFolder folder;
    Recorder recorder;
    ASSERT_TRUE(train(toy_config({arm}), {}, toy_data(41), folder.path(), recorder, kGoOn));
    EXPECT_EQ(recorder.losses.at(std::string(arm) + " 0").size(), 10u);
  }
}

TEST(Experiment, TrainsImagesUnderEverySetting) {
  // Each learns the colours; that it is the right arithmetic is for the tests of the parts.
  const std::vector<std::function<void(Config&)>> changes{
      [](Config& c) { c.model = "cnn"; },
      [](Config& c) { c.model = "cnn", c.channels_last = true, c.batch_norm = true; },
      [](Config& c) { c.model = "resnet20", c.channels_last = true, c.epochs = 20, c.arms = {"relu"}; },
      [](Config& c) { c.model = "cnn", c.precision = "bfloat16"; },
      [](Config& c) { c.model = "cnn", c.optimizer = "adamw", c.learning_rate = 0.01; },
      [](Config& c) { c.model = "cnn", c.accumulate = 3, c.clip_norm = 5, c.nesterov = true; },
      [](Config& c) { c.model = "cnn", c.mixup = 0.2, c.cutmix = 1, c.label_smoothing = 0.1; },
      [](Config& c) { c.model = "cnn", c.flip = true, c.crop_padding = 1, c.erasing = 0.25, c.workers = 3; },
      [](Config& c) { c.schedule = "one-cycle", c.workers = 0; },
      [](Config& c) {
        c.schedule = "step", c.milestones = {3, 5}, c.warmup_epochs = 1;
      }};
  for (std::size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    auto config = toy_config({"nsilu"});
    config.widths = {8, 8};
    config.blocks = 1;
    config.epochs = 8;
    changes[i](config);
    const auto epochs = select(run_toy(config, toy_images()), "epoch", config.arms.front());
    ASSERT_EQ(epochs.size(), static_cast<std::size_t>(config.epochs) + 1);
    EXPECT_GT(epochs.back().at("test_accuracy"), 0.8);
    EXPECT_EQ(epochs.back().at("test_top5"), 1);
  }
}

TEST(Experiment, AccumulatingChangesTheGradientByRoundingAlone) {
  auto config = toy_config({"silu"});
  config.model = "cnn";
  config.widths = {8};
  const auto whole = select(run_toy(config, toy_images()), "epoch", "silu");
  config.accumulate = 4;
  const auto parts = select(run_toy(config, toy_images()), "epoch", "silu");
  for (std::size_t epoch = 0; epoch < 3; ++epoch) {
    EXPECT_NEAR(whole[epoch].at("test_loss").get<double>(), parts[epoch].at("test_loss").get<double>(), 1e-5);
  }
}

TEST(Experiment, TheLayoutAndTheWorkersChangeNothingButRounding) {
  auto config = toy_config({"nsilu"});
  config.model = "cnn";
  config.widths = {8};
  config.crop_padding = 2;
  config.flip = true;
  const auto plain = run_toy(config, toy_images());
  config.workers = 3;
  EXPECT_EQ(plain, run_toy(config, toy_images()));
  config.workers = 0;
  EXPECT_EQ(plain, run_toy(config, toy_images()));
  config.channels_last = true;
  const auto last = select(run_toy(config, toy_images()), "epoch", "nsilu");
  const auto first = select(plain, "epoch", "nsilu");
  for (std::size_t epoch = 0; epoch < 3; ++epoch) {
    EXPECT_NEAR(first[epoch].at("test_loss").get<double>(), last[epoch].at("test_loss").get<double>(), 1e-4);
  }
}

TEST(Experiment, NoEpochsOnlyEvaluates) {
  auto config = toy_config({"silu"});
  config.epochs = 0;
  const auto events = run_toy(config);
  EXPECT_EQ(select(events, "epoch", "silu").size(), 1u);
  EXPECT_EQ(select(events, "finished", "silu").size(), 1u);
}

TEST(Experiment, TheTableHoldsTheEpochs) {
  const TemporaryFolder folder;
  Recorder recorder;
  ASSERT_TRUE(train(toy_config({"silu", "silu:name=a,b"}), {}, toy_data(), folder.path(), recorder, kGoOn));
  const auto epochs = select(metrics_of(folder.path()), "epoch", "silu");
  std::istringstream table(content_of(folder / "metrics.csv"));
  std::string line;
  std::getline(table, line);
  EXPECT_EQ(line,
            "arm,seed,epoch,step,learning_rate,train_loss,train_accuracy,validation_loss,validation_accuracy,"
            "test_loss,test_accuracy,test_top5,seconds,seconds_waited");
  for (const auto& epoch : epochs) {
    std::getline(table, line);
    EXPECT_TRUE(line.starts_with("silu,0," + epoch.at("epoch").dump() + "," + epoch.at("step").dump() + ",0.02,"))
        << line;
    EXPECT_NE(line.find(",,," + epoch.at("test_loss").dump() + "," + epoch.at("test_accuracy").dump() + ",1.0,"),
              std::string::npos)
        << line;
  }
  std::getline(table, line);
  EXPECT_TRUE(line.starts_with("\"a,b\",0,0,0,0.02,,,")) << line;
  EXPECT_EQ(recorder.lines.size(), 6u);
  std::string log;
  for (const auto& text : recorder.lines) log += text + "\n";
  EXPECT_EQ(content_of(folder / "log.txt"), log);
}

TEST(Experiment, KeepsTheBestWeightsAndTheLast) {
  const TemporaryFolder folder, other;
  Recorder recorder;
  auto config = toy_config({"nsilu"});
  config.save_weights = true;
  config.epochs = 6;
  ASSERT_TRUE(train(config, {}, toy_data(), folder.path(), recorder, kGoOn));
  const auto epochs = select(metrics_of(folder.path()), "epoch", "nsilu");
  double best = 0;
  for (const auto& epoch : epochs) {
    if (epoch.at("epoch") > 0) best = std::max(best, epoch.at("test_accuracy").get<double>());
  }
  // Evaluated again from the files, they are what they were.
  config.epochs = 0;
  for (const std::string name : {"last", "best"}) {
    config.weights = (folder / "weights" / "0-nsilu-seed0" / (name + ".safetensors")).string();
    const auto again = select(run_toy(config), "epoch", "nsilu").at(0);
    EXPECT_EQ(again.at("test_accuracy"), name == "best" ? best : epochs.back().at("test_accuracy").get<double>());
    if (name == "last") {
      EXPECT_EQ(again.at("test_loss"), epochs.back().at("test_loss"));
    }
  }
}

TEST(Experiment, ValidationImagesDecideWhichWeightsAreBest) {
  const TemporaryFolder folder;
  Recorder recorder;
  auto config = toy_config({"nsilu"});
  config.save_weights = true;
  config.epochs = 8;
  config.validation = 0.3;
  const auto whole = toy_data(60, 20);
  const auto dataset = data::subset(whole, {.train = 0, .test = 0, .validation = 0.3, .seed = 0});
  ASSERT_TRUE(train(config, {}, dataset, folder.path(), recorder, kGoOn));
  const auto epochs = select(metrics_of(folder.path()), "epoch", "nsilu");
  // The first epoch of the best ones, of those after the first step.
  const auto best = std::ranges::max_element(epochs.begin() + 1, epochs.end(), {}, [](const nlohmann::json& epoch) {
    return epoch.at("validation_accuracy").get<double>();
  });
  config.epochs = 0;
  config.weights = (folder / "weights" / "0-nsilu-seed0" / "best.safetensors").string();
  const auto again = select(run_toy(config, dataset), "epoch", "nsilu").at(0);
  for (const char* name : {"validation_accuracy", "validation_loss", "test_loss"}) {
    EXPECT_EQ(again.at(name), best->at(name)) << name;
  }
  // The loss of the validation images, computed on them as a test set.
  auto as_test = dataset;
  as_test.test = dataset.validation;
  as_test.validation = {};
  EXPECT_EQ(select(run_toy(config, as_test), "epoch", "nsilu").at(0).at("test_loss"), best->at("validation_loss"));
  const auto described = json_of(folder / "config.json").at("data");
  EXPECT_EQ(described.at("train"), 42);
  EXPECT_EQ(described.at("validation"), 18);
  EXPECT_EQ(described.at("subset_seed"), 0);
  // The report's best epoch is chosen there too.
  const auto trial = report::load_run(folder.path()).trials.at(0);
  EXPECT_EQ(trial.epochs.at(3).validation_accuracy, epochs.at(3).at("validation_accuracy").get<double>());
  EXPECT_NO_THROW(report::write_report(folder.path()));
  EXPECT_NE(content_of(folder / "report.html").find("chosen on the validation data"), std::string::npos);
}

TEST(Experiment, RelabelsFromAnEpochOn) {
  auto config = toy_config({"silu"});
  config.epochs = 4;
  const auto plain = select(run_toy(config), "epoch", "silu");
  config.relabel_after = 2;
  const auto changed = select(run_toy(config), "epoch", "silu");
  for (std::size_t i = 0; i <= 2; ++i) EXPECT_EQ(changed[i], plain[i]);
  EXPECT_NE(changed[3].at("train_loss"), plain[3].at("train_loss"));
  // From the first epoch on it is the training on the labels as they then are.
  auto data = toy_data();
  for (const auto& samples : {data.train, data.test}) {
    for (const auto& label : samples.labels) const_cast<std::int32_t&>(label) = (label + 1) % 3;
  }
  config.relabel_after = 0;
  const auto on_changed = select(run_toy(config, data), "epoch", "silu");
  config.relabel_after = 1;
  config.epochs = 2;
  // One epoch on the old labels, then one on the new: what the last is tested on are the new ones.
  const auto last = select(run_toy(config), "epoch", "silu").at(2);
  EXPECT_NE(last.at("test_loss"), on_changed[2].at("test_loss"));
  config.weights = "";
  EXPECT_GT(last.at("train_loss").get<double>(), plain[2].at("train_loss").get<double>());
}

TEST(Experiment, ScalesWeightsAndInputs) {
  // A linear network without biases: what the weights are multiplied by, its logits are.
  auto config = toy_config({"relu"});
  config.epochs = 0;
  const auto loss = [&](double weight_scale, double input_scale, double input_shift) {
    config.weight_scale = weight_scale;
    config.input_scale = input_scale;
    config.input_shift = input_shift;
    return select(run_toy(config), "epoch", "relu").at(0).at("test_loss").get<double>();
  };
  // ReLU is homogeneous: three layers of twice the weights are eight times the input.
  EXPECT_NEAR(loss(2, 1, 0), loss(1, 8, 0), 1e-6);
  EXPECT_NE(loss(2, 1, 0), loss(1, 1, 0));
  // The inputs are standardized from a mean of 128 and a deviation of 40.
  const double shifted = loss(1, 1, 0.5);
  auto data = toy_data();
  data.mean = {108};
  config.input_shift = 0;
  EXPECT_NEAR(shifted, select(run_toy(config, data), "epoch", "relu").at(0).at("test_loss").get<double>(), 1e-6);
}

}  // namespace
}  // namespace anact::train
