// A folder is held by one process at a time, and what it held before is lost only to a run that has begun.

#include "train/output_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>

#include "support/temporary_folder.h"

namespace anact::train {
namespace {

using test::content_of;
using test::names_in;
using test::TemporaryFolder;
using Names = std::set<std::string>;

const std::string kConfig = R"({"schema": 1, "command": "train"})";

// A run of these files, each of this content.
void write_run(const std::filesystem::path& folder, const std::string& content) {
  std::filesystem::create_directories(folder / "weights");
  std::ofstream(folder / "config.json") << kConfig;
  std::ofstream(folder / "status.json") << content;
  std::ofstream(folder / "metrics.csv") << content;
  std::ofstream(folder / "weights" / "last.safetensors") << content;
}

class OutputFolderTest : public testing::Test {
 protected:
  std::filesystem::path path() const { return folder_ / "run"; }

  // Whether the old run is there, whole, and nothing else but `more`.
  void expect_old(const Names& more = {}) const {
    Names expected{"config.json", "status.json", "metrics.csv", "weights"};
    expected.insert(more.begin(), more.end());
    EXPECT_EQ(names_in(path()), expected);
    EXPECT_EQ(content_of(path() / "metrics.csv"), "old");
    EXPECT_EQ(content_of(path() / "status.json"), "old");
    EXPECT_EQ(content_of(path() / "weights" / "last.safetensors"), "old");
  }

  TemporaryFolder folder_;
};

TEST_F(OutputFolderTest, IsMadeAndGoesIfNothingIsWritten) {
  {
    const OutputFolder made(path());
    EXPECT_TRUE(std::filesystem::is_directory(path()));
    EXPECT_TRUE(made.is_empty());
    EXPECT_FALSE(made.holds_run());
  }
  EXPECT_FALSE(std::filesystem::exists(path()));
  std::filesystem::create_directory(path());
  { const OutputFolder there(path()); }
  EXPECT_TRUE(std::filesystem::is_directory(path())) << "it was not this one's";
}

TEST_F(OutputFolderTest, IsHeldAgainstOthersWhichAreToldByWhom) {
  std::optional<OutputFolder> held(std::in_place, path());
  try {
    const OutputFolder other(path());
    FAIL() << "two hold it";
  } catch (const std::runtime_error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("'" + path().string() + "' is in use: process " + std::to_string(::getpid()) + " on "),
              std::string::npos)
        << message;
  }
  EXPECT_TRUE(std::filesystem::exists(path())) << "the second took it away";
  held.reset();
  EXPECT_NO_THROW(OutputFolder{path()});
}

TEST_F(OutputFolderTest, IsFreeAgainWhenItsHolderIsKilled) {
  const auto child = ::fork();
  if (child == 0) {
    const OutputFolder held(path());
    ::_exit(::kill(::getpid(), SIGKILL));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(names_in(path()), Names{"lock"});
  const OutputFolder next(path());
  EXPECT_TRUE(next.is_empty());
}

TEST_F(OutputFolderTest, WhatWasSetAsideComesBackUnlessTheNewRunHasBegun) {
  write_run(path(), "old");
  std::ofstream(path() / "notes.txt") << "mine";
  {
    OutputFolder folder(path());
    EXPECT_TRUE(folder.holds_run());
    folder.set_aside();
    EXPECT_EQ(names_in(path()), (Names{"lock", "notes.txt", "replaced"}));
    std::ofstream(path() / "config.json") << "half of a new one";
  }
  expect_old({"notes.txt"});
  {
    OutputFolder folder(path());
    folder.set_aside();
    write_run(path(), "new");
    folder.begun();
  }
  EXPECT_EQ(names_in(path()), (Names{"config.json", "status.json", "metrics.csv", "weights", "notes.txt"}));
  EXPECT_EQ(content_of(path() / "metrics.csv"), "new");
}

// A process that is killed leaves the folder as it is; the next one that holds it puts it right.
TEST_F(OutputFolderTest, AKillAtAnyPointLosesNeitherRun) {
  const auto die_in = [&](auto&& work) {
    const auto child = ::fork();
    if (child == 0) {
      OutputFolder folder(path());
      work(folder);
      ::_exit(::kill(::getpid(), SIGKILL));
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
  };
  write_run(path(), "old");
  // Half way into the move: the configuration is moved last.
  die_in([&](OutputFolder&) {
    std::filesystem::create_directory(path() / "replaced");
    std::filesystem::rename(path() / "metrics.csv", path() / "replaced" / "metrics.csv");
    std::filesystem::rename(path() / "weights", path() / "replaced" / "weights");
  });
  { const OutputFolder next(path()); }
  expect_old();
  // The old run is away, the new one has no state yet.
  die_in([&](OutputFolder& folder) {
    folder.set_aside();
    std::ofstream(path() / "config.json") << "new";
    std::ofstream(path() / "metrics.csv") << "new";
  });
  { const OutputFolder next(path()); }
  expect_old();
  // The new run has begun, the old one was not removed yet.
  die_in([&](OutputFolder& folder) {
    folder.set_aside();
    write_run(path(), "new");
  });
  { const OutputFolder next(path()); }
  EXPECT_EQ(names_in(path()), (Names{"config.json", "status.json", "metrics.csv", "weights"}));
  EXPECT_EQ(content_of(path() / "metrics.csv"), "new");
}

TEST_F(OutputFolderTest, NewNamesDoNotCollide) {
  const auto wanted = folder_ / "runs/train-1";
  {
    const auto first = OutputFolder::make_new(wanted);
    const auto second = OutputFolder::make_new(wanted);
    const auto third = OutputFolder::make_new(wanted);
    EXPECT_EQ(first->path(), wanted);
    EXPECT_EQ(second->path(), folder_ / "runs/train-1-2");
    EXPECT_EQ(third->path(), folder_ / "runs/train-1-3");
    std::ofstream(second->path() / "config.json") << kConfig;
  }
  EXPECT_EQ(names_in(folder_ / "runs"), Names{"train-1-2"}) << "those in which nothing was written go";
  folder_.write("file", "");
  EXPECT_THROW((void)OutputFolder::make_new(folder_ / "file" / "below"), std::runtime_error);
}

}  // namespace
}  // namespace anact::train
