// `anact probe` and `anact study`, run as a user runs them.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

class Probe : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> arguments(std::vector<std::string> words,
                                                   const std::vector<std::string>& more = {}) const {
    for (const auto& word : std::vector<std::string>{"--data-path", data_.string(), "--width", "8", "--epochs", "2",
                                                     "--output", output().string()}) {
      words.push_back(word);
    }
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  [[nodiscard]] std::filesystem::path output() const { return folder_ / "out"; }

  TemporaryFolder folder_;
  std::filesystem::path data_ = write_digits(folder_);
};
using SlowProbe = Probe;

TEST_F(Probe, MeasuresTheStepsThatItIsAskedFor) {
  const auto result = run(arguments({"probe"}, {"--depth", "3", "--steps", "5", "--every", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "activation2"));
  const auto lines = lines_of(content_of(output() / "probe.csv"));
  // Steps 0, 2 and 4, of three linear layers with their activations and the output.
  EXPECT_EQ(lines.size(), 1U + 3 * 7);
  EXPECT_TRUE(lines[1].starts_with("0,0,linear0,linear,"));
  EXPECT_TRUE(lines[2].starts_with("0,1,activation0,activation,silu,true,"));
  EXPECT_TRUE(has(content_of(output() / "probe.html"), "</html>"));
  EXPECT_EQ(nlohmann::json::parse(content_of(output() / "config.json")).at("command"), "probe");
}

TEST_F(SlowProbe, BeginsFromWeightsAndFromACheckpoint) {
  const auto trained = (folder_ / "trained").string();
  ASSERT_EQ(run({"train", "--data-path", data_.string(), "--width", "8", "--depth", "3", "--epochs", "1", "--arms",
                 "nsilu", "--checkpoint-epochs", "1", "--output", trained})
                .exit_code,
            0);
  const auto weights = trained + "/weights/0-nsilu-seed0/last.safetensors";
  std::string checkpoint;
  for (const auto& entry : std::filesystem::directory_iterator(trained + "/checkpoints/0-nsilu-seed0")) {
    checkpoint = entry.path();
  }
  std::string tables[2];
  int i = 0;
  for (const auto& file : {weights, checkpoint}) {
    const auto result =
        run(arguments({"probe"}, {"--depth", "3", "--steps", "1", "--checkpoint", file, "--overwrite"}));
    ASSERT_EQ(result.exit_code, 0) << result.error;
    tables[i++] = content_of(output() / "probe.csv");
  }
  EXPECT_EQ(tables[0], tables[1]);
  const auto untrained = run(arguments({"probe"}, {"--depth", "3", "--steps", "1", "--overwrite"}));
  ASSERT_EQ(untrained.exit_code, 0);
  EXPECT_NE(tables[0], content_of(output() / "probe.csv"));
}

TEST_F(Probe, RefusesWhatItCannotMeasure) {
  EXPECT_TRUE(has(refusal(arguments({"probe"}, {"--arms", "silu", "nsilu"})), "one network"));
  EXPECT_TRUE(has(refusal(arguments({"probe"}, {"--epochs", "0"})), "--epochs is 0"));
  EXPECT_FALSE(std::filesystem::exists(output()));
  const auto missing = run(arguments({"probe"}, {"--checkpoint", "/nowhere.safetensors"}));
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_TRUE(has(missing.error, "/nowhere.safetensors"));
}

TEST_F(SlowProbe, StudiesWriteTheirRunsAndAReport) {
  const auto convergence = run(arguments({"study", "convergence"}, {"--depth", "2", "--arms", "silu", "nsilu", "relu",
                                                                    "nrelu", "--seeds", "2", "--thresholds", "20"}));
  ASSERT_EQ(convergence.exit_code, 0) << convergence.error;
  EXPECT_EQ(lines_of(content_of(output() / "runs.csv")).size(), 1U + 8);
  EXPECT_TRUE(has(convergence.out, "rank correlation"));
  for (const char* name : {"correlations.csv", "study.html"}) EXPECT_FALSE(content_of(output() / name).empty()) << name;

  const auto stability = run(arguments({"study", "stability"}, {"--depths", "1", "2", "--lrs", "0.01", "0.02", "--arms",
                                                                "silu", "nsilu", "--seeds", "2", "--overwrite"}));
  ASSERT_EQ(stability.exit_code, 0) << stability.error;
  EXPECT_EQ(lines_of(content_of(output() / "runs.csv")).size(), 1U + 16);
  EXPECT_FALSE(std::filesystem::exists(output() / "correlations.csv"));
  for (const char* name : {"summary.csv", "study.html"}) EXPECT_FALSE(content_of(output() / name).empty()) << name;

  // Again in its place, with one depth less: what the first one wrote for the other is gone.
  std::filesystem::remove(output() / "runs.csv");
  const auto again = run(arguments(
      {"study", "stability"}, {"--depths", "1", "--lrs", "0.01", "--arms", "nsilu", "--seeds", "1", "--overwrite"}));
  ASSERT_EQ(again.exit_code, 0) << again.error;
  EXPECT_EQ(lines_of(content_of(output() / "runs.csv")).size(), 1U + 1);
  EXPECT_FALSE(std::filesystem::exists(output() / "depth-2"));
}

}  // namespace
}  // namespace anact::cli
