// `anact study`, run as a user runs it.

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

class Study : public testing::Test {
 protected:
  // Digits of a small network, so many epochs each.
  [[nodiscard]] std::filesystem::path plan(int epochs = 1, const std::string& more = "") const {
    return folder_.write(
        "plan.toml",
        "title = \"A plan\"\nquestion = \"Which?\"\n[defaults]\narms = [\"silu\", \"nsilu\"]\nseeds = 2\n" + more +
            "[defaults.data]\npath = \"" + data_.string() +
            "\"\nvalidation = 0.1\n[defaults.model]\ndepth = 2\nwidth = 8\n"
            "[defaults.training]\nthreads = 1\nepochs = " +
            std::to_string(epochs) + "\n[[experiment]]\nname = \"small\"\n");
  }
  [[nodiscard]] std::vector<std::string> arguments(const std::string& command,
                                                   const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"study", command, (folder_ / "plan.toml").string(), "--output", output().string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  [[nodiscard]] std::filesystem::path output() const { return folder_ / "out"; }
  [[nodiscard]] std::size_t rows() const { return lines_of(content_of(output() / "rows.csv")).size() - 1; }

  TemporaryFolder folder_;
  std::filesystem::path data_ = write_digits(folder_);
};
using SlowStudy = Study;

TEST_F(Study, RunsAPlanSideBySideAndReports) {
  (void)plan(1, "lrs = [0.01, 0.02]\n");
  const auto before = run(arguments("run", {"--status"}));
  ASSERT_EQ(before.exit_code, 0) << before.error;
  EXPECT_TRUE(has(before.out, "0 of      6 runs  not known yet")) << before.out;
  EXPECT_FALSE(std::filesystem::exists(output()));

  const auto result = run(arguments("run", {"--jobs", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(rows(), 6U);
  EXPECT_EQ(names_in(output()), (std::set<std::string>{"rows.csv", "study.html", "summary.csv"}));
  EXPECT_TRUE(has(result.out, "study.html"));
  EXPECT_TRUE(has(content_of(output() / "study.html"), "Which?"));
  EXPECT_TRUE(has(run(arguments("run", {"--status"})).out, "complete"));

  // The page again, from the rows alone.
  const auto page = content_of(output() / "study.html");
  std::filesystem::remove(output() / "study.html");
  ASSERT_EQ(run(arguments("report")).exit_code, 0);
  EXPECT_EQ(content_of(output() / "study.html"), page);
}

TEST_F(Study, StopsAfterItsMinutesAndGoesOn) {
  (void)plan(100000);
  const auto result = run(arguments("run", {"--minutes", "0.05"}));
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "The time is up")) << result.out;
  // The checkpoint that it goes on from.
  EXPECT_TRUE(std::filesystem::exists(output() / "work"));
  (void)plan(1);
  ASSERT_EQ(run(arguments("run")).exit_code, 0);
  EXPECT_EQ(rows(), 4U);
}

TEST_F(SlowStudy, SurvivesBeingKilled) {
  (void)plan(1, "lrs = [0.01, 0.02, 0.03]\ntrial_seeds = 2\n");
  ASSERT_EQ(run(arguments("run")).exit_code, 0);
  const auto whole = rows();
  std::filesystem::remove_all(output());
  for (int kill = 0; kill < 4; ++kill) {
    Program program(arguments("run", {"--jobs", "2"}));
    std::this_thread::sleep_for(std::chrono::milliseconds(400 + 300 * kill));
    program.send(SIGKILL);
    (void)program.wait();
  }
  ASSERT_EQ(run(arguments("run")).exit_code, 0);
  EXPECT_EQ(rows(), whole);
  std::set<std::string> keys;
  for (const auto& line : lines_of(content_of(output() / "rows.csv"))) keys.insert(fields_of(line).at(5));
  EXPECT_EQ(keys.size(), whole + 1);  // each once, and the header
}

TEST_F(Study, ErrorsNameTheFileAndThePlace) {
  const auto bad = folder_.write("plan.toml", "[[experiment]]\nname = \"a\"\narms = [\"silu\"]\nseedz = 3\n");
  const auto result = run(arguments("run"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(has(result.error, bad.string() + "', line 4")) << result.error;
  EXPECT_TRUE(has(result.error, "seedz")) << result.error;
  EXPECT_EQ(run({"study", "run", "/nowhere.toml"}).exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(output()));
  (void)plan();
  const auto nothing = run(arguments("report"));
  EXPECT_EQ(nothing.exit_code, 1);
  EXPECT_TRUE(has(nothing.error, "no rows.csv"));
  // Rows that are not a study's.
  std::filesystem::create_directories(output());
  std::ofstream(output() / "rows.csv") << "a,b\n1,2\n";
  const auto damaged = run(arguments("run"));
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_TRUE(has(damaged.error, "rows.csv', line 1: column 1: expected 'experiment'")) << damaged.error;
  EXPECT_EQ(content_of(output() / "rows.csv"), "a,b\n1,2\n");
}

}  // namespace
}  // namespace anact::cli
