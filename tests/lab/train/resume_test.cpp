// A training that was broken off goes on as if it had not been.

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <stdexcept>

#include "io/file_size_limit.h"
#include "train/checkpoint.h"
#include "train/toy.h"

namespace anact::train {
namespace {

using namespace test;

const std::atomic<bool> kGoOn = false;

// Every part of a state: BatchNorm, ANAct, momentum, mixing, augmentation, a schedule, events, best weights.
Config config_of(const std::string& optimizer) {
  auto config = toy_config({"nsilu", "silu-batchnorm"}, 2);
  config.model = "cnn";
  config.widths = {6, 6};
  config.blocks = 1;
  config.epochs = 3;
  config.optimizer = optimizer;
  config.schedule = "cosine";
  config.crop_padding = 1;
  config.flip = true;
  config.mixup = 0.5;
  config.save_weights = true;
  config.tensorboard = true;
  config.checkpoint_minutes = 1e-9;  // after every step
  config.keep = 2;
  return config;
}

// Every file that must be the same bits, by its name; times taken out.
std::map<std::string, std::string> results_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> results;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "weights")) {
    if (entry.is_regular_file()) results[entry.path().lexically_relative(folder)] = content_of(entry.path());
  }
  for (const auto& event : metrics_of(folder)) results["metrics"] += event.dump() + "\n";
  std::istringstream table(content_of(folder / "metrics.csv"));
  for (std::string line; std::getline(table, line);) {
    const auto waited = line.rfind(','), seconds = line.rfind(',', waited - 1);
    results["table"] += line.substr(0, seconds) + "\n";
  }
  return results;
}

class Killed : public std::exception {};

TEST(Resume, AStopAtAnyStepChangesNothing) {
  for (const std::string optimizer : {"sgd", "adamw"}) {
    const auto config = config_of(optimizer);
    const auto dataset = toy_images();
    const TemporaryFolder whole;
    Recorder recorder;
    ASSERT_TRUE(train(config, {}, dataset, whole.path(), recorder, kGoOn));
    const auto expected = results_of(whole.path());
    ASSERT_EQ(expected.size(), 10u);  // two files for each of four runs, the metrics and their table

    // 2 x 2 runs of 3 epochs of 5 steps. The stops come at every step of the first two runs, one after another.
    const TemporaryFolder folder;
    std::atomic<bool> stop = false;
    std::size_t stops = 0;
    Recorder stopper;
    stopper.on_step = [&](const Progress& progress) { stop = progress.run < 2; };
    bool ended = train(config, {}, dataset, folder.path(), stopper, stop);
    while (!ended) {
      ++stops;
      ASSERT_LT(stops, 100u);
      stop = false;
      ended = resume(dataset, folder.path(), stopper, stop);
    }
    EXPECT_GE(stops, 25u);
    EXPECT_TRUE(results_of(folder.path()) == expected) << optimizer;
    EXPECT_EQ(nlohmann::json::parse(content_of(folder / "status.json")).at("state"), "complete");
    // No more checkpoints than are to be kept.
    EXPECT_EQ(names_in(folder / "checkpoints" / "0-nsilu-seed0").size(), 2u);
  }
}

TEST(Resume, AnEndWithoutWarningChangesNothing) {
  const auto config = config_of("sgd");
  const auto dataset = toy_images();
  const TemporaryFolder whole;
  Recorder recorder;
  ASSERT_TRUE(train(config, {}, dataset, whole.path(), recorder, kGoOn));
  const auto expected = results_of(whole.path());
  for (const std::int64_t every : {1, 3}) {
    auto sparse = config;
    sparse.checkpoint_minutes = every == 1 ? 1e-9 : 0;
    sparse.checkpoint_epochs = every == 1 ? 0 : 2;
    for (const std::int64_t step : {1, 4, 5, 6, 11, 14}) {
      const TemporaryFolder folder;
      Recorder killer;
      killer.on_step = [&](const Progress& progress) {
        if (progress.run == 2 && progress.step == step) throw Killed();
      };
      EXPECT_THROW((void)train(sparse, {}, dataset, folder.path(), killer, kGoOn), Killed);
      // What was written after the last checkpoint is cut off, whatever it is.
      std::ofstream(folder / "metrics.jsonl", std::ios::app) << "{\"half";
      std::ofstream(folder / "metrics.csv", std::ios::app) << "half";
      Recorder quiet;
      ASSERT_TRUE(resume(dataset, folder.path(), quiet, kGoOn));
      EXPECT_TRUE(results_of(folder.path()) == expected) << every << " " << step;
    }
  }
}

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    std::atomic<bool> stop = false;
    Recorder stopper;
    stopper.on_step = [&](const Progress& progress) { stop = progress.step == 7; };
    ASSERT_FALSE(train(config_of("sgd"), {}, dataset_, folder_.path(), stopper, stop));
  }

  // What resume() says; the folder must be as it was, and go on once it is mended.
  std::string refusal() {
    const auto before = snapshot();
    Recorder recorder;
    std::string message = "no error";
    try {
      (void)resume(dataset_, folder_.path(), recorder, kGoOn);
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    EXPECT_TRUE(recorder.losses.empty());
    EXPECT_TRUE(snapshot() == before) << "something has been changed";
    return message;
  }

  std::map<std::string, std::string> snapshot() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      if (entry.is_regular_file()) files[entry.path().string()] = content_of(entry.path());
    }
    return files;
  }

  static void write(const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  std::filesystem::path latest() const { return *latest_checkpoint(folder_ / "checkpoints" / "0-nsilu-seed0"); }

  TemporaryFolder folder_;
  data::Dataset dataset_ = toy_images();
};

TEST_F(Damage, ACheckpointThatCannotBeReadIsNamed) {
  const auto path = latest();
  const auto good = content_of(path);
  auto bad = good;
  bad[bad.size() - 3] = static_cast<char>(bad[bad.size() - 3] ^ 1);
  for (const auto& content : {std::string(), good.substr(0, 100), good.substr(0, good.size() - 1), bad}) {
    write(path, content);
    EXPECT_NE(refusal().find(path.string()), std::string::npos);
  }
  write(path, good);
  Recorder recorder;
  EXPECT_TRUE(resume(dataset_, folder_.path(), recorder, kGoOn));
}

TEST_F(Damage, TheOneBeforeServesWhenItIsRemoved) {
  std::filesystem::remove(latest());
  Recorder recorder;
  EXPECT_TRUE(resume(dataset_, folder_.path(), recorder, kGoOn));
  EXPECT_EQ(recorder.losses.at("nsilu 0").size(), 15u - 6);
}

TEST_F(Damage, OtherDataAreRefused) {
  dataset_.checksum = "12345678";
  EXPECT_NE(refusal().find("the data have changed"), std::string::npos);
}

TEST_F(Damage, ACheckpointOfAnotherRunOrNetworkIsRefused) {
  const auto path = latest();
  const auto other = folder_ / "checkpoints" / "1-silu-batchnorm-seed0";
  const auto good = content_of(path);
  std::filesystem::create_directories(other);
  auto text = content_of(folder_ / "config.toml");
  write(folder_ / "config.toml", text.replace(text.find("widths = [6, 6]"), 15, "widths = [6, 7]"));
  const auto message = refusal();
  EXPECT_NE(message.find("config.toml' has been changed"), std::string::npos) << message;
  EXPECT_NE(message.find("widths is [6, 6] there and [6, 7] here"), std::string::npos) << message;
  // The status tells of a change of one file, the checkpoint of one of both.
  auto status = content_of(folder_ / "status.json");
  write(folder_ / "status.json", status.replace(status.find("widths = [6, 6]"), 15, "widths = [6, 7]"));
  EXPECT_NE(refusal().find("another shape"), std::string::npos);
  const auto back = [](std::string of) { return of.replace(of.find("[6, 7]"), 6, "[6, 6]"); };
  const auto faster = [](std::string of) { return of.replace(of.find("lr = 0.02"), 9, "lr = 0.05"); };
  for (const auto* name : {"config.toml", "status.json"}) {
    write(folder_ / name, faster(back(content_of(folder_ / name))));
  }
  EXPECT_NE(refusal().find("other settings or data"), std::string::npos);
}

TEST_F(Damage, RemovedEventsAreBegunAnew) {
  std::filesystem::remove_all(folder_ / "tensorboard");
  Recorder recorder;
  EXPECT_TRUE(resume(dataset_, folder_.path(), recorder, kGoOn));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "tensorboard" / "0-nsilu-seed0" / "events.out.tfevents.0.anact"));
}

TEST_F(Damage, ShortenedMetricsAreNamed) {
  write(folder_ / "metrics.jsonl", "{}\n");
  EXPECT_NE(refusal().find("metrics.jsonl"), std::string::npos);
}

TEST_F(Damage, WhatIsNoTrainingOrACompleteOneIsRefused) {
  Recorder recorder;
  EXPECT_TRUE(resume(dataset_, folder_.path(), recorder, kGoOn));
  recorder.losses.clear();
  EXPECT_NE(refusal().find("complete"), std::string::npos);
  std::filesystem::remove(folder_ / "config.toml");
  EXPECT_NE(refusal().find("config.toml"), std::string::npos);
}

TEST(Resume, ADiskThatFillsUpLosesNothing) {
  const auto config = config_of("sgd");
  const auto dataset = toy_images();
  const TemporaryFolder whole, folder;
  Recorder recorder;
  ASSERT_TRUE(train(config, {}, dataset, whole.path(), recorder, kGoOn));
  {
    // Only metrics.jsonl and the checkpoints outgrow the status, which holds the configuration.
    const anact::test::FileSizeLimit limit(content_of(whole / "status.json").size() + 100);
    EXPECT_THROW((void)train(config, {}, dataset, folder.path(), recorder, kGoOn), std::runtime_error);
  }
  EXPECT_TRUE(resume(dataset, folder.path(), recorder, kGoOn));
  EXPECT_TRUE(results_of(folder.path()) == results_of(whole.path()));
}

}  // namespace
}  // namespace anact::train
