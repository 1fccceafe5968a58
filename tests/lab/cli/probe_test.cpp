// `anact probe`, run as a user runs it.

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

}  // namespace
}  // namespace anact::cli
