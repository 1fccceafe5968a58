// `anact train`, run as a user runs it.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

class Train : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> arguments(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"train",   "--data-path", data_.string(), "--depth",        "2",
                                   "--width", "8",           "--output",     output().string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  [[nodiscard]] std::filesystem::path output() const { return folder_ / "out"; }

  TemporaryFolder folder_;
  std::filesystem::path data_ = write_digits(folder_);
};
using SlowTrain = Train;

// What must be the same bits of two runs of one configuration: everything but the times.
std::map<std::string, std::string> results_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> results;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "weights")) {
    if (entry.is_regular_file()) results[entry.path().lexically_relative(folder)] = content_of(entry.path());
  }
  for (const auto& line : lines_of(content_of(folder / "metrics.jsonl"))) {
    auto event = nlohmann::json::parse(line);
    event.erase("seconds");
    event.erase("seconds_waited");
    results["metrics"] += event.dump() + "\n";
  }
  return results;
}

// Names what differs and shows the first metrics that do.
void expect_same_results(const std::filesystem::path& folder, const std::map<std::string, std::string>& expected) {
  auto found = results_of(folder);
  for (const auto& [name, content] : expected) {
    if (found[name] == content) continue;
    ADD_FAILURE() << name << " differs";
    const auto want = lines_of(content), got = lines_of(found[name]);
    for (std::size_t i = 0; name == "metrics" && i < std::min(want.size(), got.size()); ++i) {
      if (want[i] == got[i]) continue;
      ADD_FAILURE() << "line " << i << ":\n" << got[i] << "\nexpected\n" << want[i];
      break;
    }
  }
  EXPECT_EQ(found.size(), expected.size());
}

TEST_F(Train, FlagsAloneAreEnough) {
  const auto result = run(arguments({"--epochs", "1", "--lr", "0.01", "--flip"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "| nsilu"));
  EXPECT_EQ(names_in(output() / "weights"), (std::set<std::string>{"0-silu-seed0", "1-nsilu-seed0"}));
  EXPECT_EQ(names_in(output() / "tensorboard"), (std::set<std::string>{"0-silu-seed0", "1-nsilu-seed0"}));
  EXPECT_TRUE(has(content_of(output() / "config.toml"), "flip = true"));
  EXPECT_EQ(nlohmann::json::parse(content_of(output() / "config.json")).at("command"), "train");
}

TEST_F(Train, TheWrittenConfigurationRepeatsTheRun) {
  ASSERT_EQ(run(arguments({"--epochs", "2", "--seeds", "2", "--optimizer", "adamw", "--schedule", "cosine"})).exit_code,
            0);
  const auto again = (folder_ / "again").string();
  const auto result = run({"train", "--config", (output() / "config.toml").string(), "--output", again});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(results_of(output()) == results_of(again));
}

TEST_F(Train, PrintsTheConfigurationThatItWouldUse) {
  const auto printed = run({"train", "--preset", "cifar100-resnet50", "--epochs", "7", "--print-config"});
  ASSERT_EQ(printed.exit_code, 0) << printed.error;
  EXPECT_TRUE(has(printed.out, "name = \"resnet50\""));
  EXPECT_TRUE(has(printed.out, "epochs = 7 "));
  const auto file = folder_.write("run.toml", printed.out);
  EXPECT_EQ(run({"train", "--config", file.string(), "--print-config"}).out, printed.out);
}

TEST_F(Train, WhatCannotBeUnderstood) {
  EXPECT_TRUE(has(refusal({"train"}), "say what to train: --preset NAME (digits, mnist-mlp, "));
  EXPECT_TRUE(has(refusal({"train", "--preset", "digit"}), "unknown preset 'digit'; did you mean digits"));
  EXPECT_TRUE(has(refusal({"train", "--model", "resnet51"}), "model is 'resnet51'"));
  EXPECT_TRUE(has(refusal({"train", "--lr", "fast"}), "--lr: expected a number, found 'fast'"));
  EXPECT_TRUE(has(refusal({"train", "--flip", "maybe"}), "--flip: expected on or off, found 'maybe'"));
  EXPECT_NE(refusal({"train", "--preset", "digits", "--config", "x.toml"}), "");
  const auto file = folder_.write("run.toml", "[training]\nepoch = 3\n").string();
  EXPECT_TRUE(has(refusal({"train", "--config", file}), "'" + file + "', line 2, column 9: unknown setting 'epoch'; "));
  const auto missing = run({"train", "--config", "/no/such.toml"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.error, "anact: cannot open '/no/such.toml': No such file or directory\n");
  const auto nothing = run({"train", "--resume", folder_.path().string()});
  EXPECT_EQ(nothing.exit_code, 1);
  EXPECT_TRUE(has(nothing.error, "no training to go on with")) << nothing.error;
}

TEST_F(SlowTrain, CtrlCAndResumeChangeNothing) {
  const std::vector<std::string> more{"--epochs", "40", "--lr", "0.01"};
  ASSERT_EQ(run(arguments(more)).exit_code, 0);
  const auto expected = results_of(output());
  std::filesystem::remove_all(output());
  {
    Program program(arguments(more));
    ASSERT_TRUE(Program::await([&] { return lines_of(content_of(output() / "metrics.jsonl")).size() > 8; }));
    program.send(SIGINT);
    const auto stopped = program.wait();
    ASSERT_EQ(stopped.exit_code, 130) << stopped.error;
  }
  const auto changed = run({"train", "--resume", output().string(), "--lr", "0.02"});
  EXPECT_EQ(changed.exit_code, 2);
  EXPECT_TRUE(has(changed.error, "lr is 0.01 there and 0.02 here")) << changed.error;
  const auto result = run({"train", "--resume", output().string(), "--lr", "0.01"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(results_of(output()) == expected);
  const auto complete = run({"train", "--resume", output().string()});
  EXPECT_EQ(complete.exit_code, 1);
  EXPECT_TRUE(has(complete.error, "the training is complete")) << complete.error;
}

TEST_F(SlowTrain, KilledAtRandomMomentsItEndsWithTheSameBits) {
  // A checkpoint after every few steps, and kills that fall anywhere, also while one is written.
  const std::vector<std::string> more{
      "--epochs", "80",          "--lr",  "0.001",      "--arms",   "nsilu", "relu", "--checkpoint-minutes",
      "0.001",    "--optimizer", "adamw", "--schedule", "one-cycle"};
  ASSERT_EQ(run(arguments(more)).exit_code, 0);
  const auto expected = results_of(output());
  std::filesystem::remove_all(output());
  std::mt19937 random(std::random_device{}());
  int kills = 0;
  const auto interrupt = [&](const std::vector<std::string>& words) {
    Program program(words);
    if (kills == 0) {
      EXPECT_TRUE(Program::await([&] { return std::filesystem::exists(output() / "checkpoints"); }));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds((kills == 0 ? 0 : 400) + random() % 400));
    program.send(SIGKILL);
    const auto result = program.wait();
    if (result.signal == SIGKILL) ++kills;
    return result.exit_code == 0;
  };
  // A kill may fall between the last step and the program's end.
  const auto complete = [&] {
    return nlohmann::json::parse(content_of(output() / "status.json")).at("state") == "complete";
  };
  bool ended = interrupt(arguments(more));
  while (!ended && !complete() && kills < 6) ended = interrupt({"train", "--resume", output().string()});
  if (!ended && !complete()) {
    const auto result = run({"train", "--resume", output().string()});
    ASSERT_EQ(result.exit_code, 0) << result.error;
  }
  EXPECT_GE(kills, 1);
  expect_same_results(output(), expected);
  EXPECT_EQ(names_in(output() / "checkpoints" / "0-nsilu-seed0").size(), 2u);
}

TEST_F(Train, OverwriteRemovesAllOfARun) {
  ASSERT_EQ(run(arguments({"--epochs", "1", "--checkpoint-epochs", "1"})).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(output() / "checkpoints"));
  ASSERT_EQ(run(arguments({"--epochs", "1", "--overwrite", "--save-weights", "off", "--tensorboard", "off"})).exit_code,
            0);
  EXPECT_EQ(names_in(output()),
            (std::set<std::string>{"config.json", "config.toml", "environment.json", "log.txt", "metrics.csv",
                                   "metrics.jsonl", "report.html", "status.json", "summary.csv"}));
}

TEST_F(Train, AGoneDataFileAndWrongWeightsAreNamed) {
  const auto bad = folder_.write("bad.safetensors", "not one").string();
  const auto result = run(arguments({"--weights", bad}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(has(result.error, bad)) << result.error;
}

}  // namespace
}  // namespace anact::cli
