// `anact compare` and `anact report`, run as a user runs them.

#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "cli/program.h"

namespace anact::cli {
namespace {

using namespace test;

using Names = std::set<std::string>;
const Names kRunFiles{"config.json",   "config.toml", "environment.json", "log.txt",    "metrics.csv",
                      "metrics.jsonl", "report.html", "status.json",      "summary.csv"};

Names with(Names names, const std::string& more) {
  names.insert(more);
  return names;
}

nlohmann::json json_of(const std::filesystem::path& path) { return nlohmann::json::parse(content_of(path)); }

class Compare : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
    if (std::find(more.begin(), more.end(), "--data-path") == more.end()) {
      more.insert(more.end(), {"--data-path", data_.string()});
    }
    return tiny(output(), more);
  }
  [[nodiscard]] std::filesystem::path output() const { return folder_ / "out"; }

  // The one line that a refused command prints, after its "anact: "; nothing is written.
  std::string refusal(const std::vector<std::string>& more, int exit_code) {
    const auto result = run(arguments(more));
    EXPECT_EQ(result.exit_code, exit_code) << result.error;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(std::filesystem::exists(output()));
    EXPECT_EQ(lines_of(result.error).size(), 1u) << result.error;
    if (!result.error.starts_with("anact: ") || !result.error.ends_with("\n")) return "no message: " + result.error;
    return result.error.substr(7, result.error.size() - 8);
  }

  // Starts a comparison that does not end by itself, and waits until it is under way.
  std::unique_ptr<Program> start(const Setting& setting = {}) {
    auto program = std::make_unique<Program>(arguments({"--epochs", "1000000"}), setting);
    EXPECT_TRUE(Program::await([&] { return lines_of(content_of(output() / "metrics.jsonl")).size() > 6; }));
    return program;
  }

  TemporaryFolder folder_;
  std::filesystem::path data_ = write_digits(folder_);
};

TEST_F(Compare, EndToEnd) {
  const auto result = run(arguments({"--seeds", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(names_in(output()), kRunFiles);

  const auto rows = lines_of(content_of(output() / "summary.csv"));
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0], "arm,seeds,accuracy_mean,accuracy_ci95,best_accuracy_mean,loss_mean,diverged,seconds_per_epoch");
  EXPECT_TRUE(std::regex_match(rows[1], std::regex("silu,2(,[0-9.e+-]+){4},0,[0-9.e+-]+"))) << rows[1];
  EXPECT_TRUE(std::regex_match(rows[2], std::regex("nsilu,2(,[0-9.e+-]+){4},0,[0-9.e+-]+"))) << rows[2];

  EXPECT_EQ(json_of(output() / "status.json").at("state"), "complete");
  const auto config = json_of(output() / "config.json");
  EXPECT_EQ(config.at("arguments"), nlohmann::json(arguments({"--seeds", "2"})));
  EXPECT_EQ(config.at("seeds"), nlohmann::json({0, 1}));
  EXPECT_EQ(config.at("data").at("train"), 1437);

  EXPECT_TRUE(has(result.out, "| nsilu"));
  EXPECT_TRUE(has(result.out, "Report: " + (output() / "report.html").string()));
  EXPECT_TRUE(content_of(output() / "report.html").starts_with("<!DOCTYPE html>"));

  // Not a terminal: plain lines, one for each run that ended.
  EXPECT_EQ(result.error.find_first_of("\r\033"), std::string::npos);
  const auto lines = lines_of(result.error);
  ASSERT_EQ(lines.size(), 5u) << result.error;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    EXPECT_TRUE(has(lines[i], std::to_string(i) + "/4")) << lines[i];
    EXPECT_TRUE(has(lines[i], i % 2 == 1 ? " silu " : " nsilu ")) << lines[i];
    EXPECT_TRUE(has(lines[i], "test accuracy")) << lines[i];
  }
}

TEST_F(Compare, DrawsABarOnATerminal) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(master, 0);
  ASSERT_EQ(::grantpt(master), 0);
  ASSERT_EQ(::unlockpt(master), 0);
  winsize size{};
  size.ws_col = 80;
  ::ioctl(master, TIOCSWINSZ, &size);
  const int slave = ::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(slave, 0);
  Setting setting;
  setting.terminal = slave;
  const auto program = start(setting);
  ::close(slave);
  std::string shown;
  char buffer[4096];
  for (int i = 0; i < 100 && !(has(shown, "ETA") && has(shown, "test")); ++i) {
    const ssize_t count = ::read(master, buffer, sizeof buffer);
    if (count > 0) shown.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(master);
  const auto bar = shown.substr(shown.find("\r\033[K"));
  EXPECT_TRUE(std::regex_search(bar, std::regex("\\[[#.]+\\] +\\d+% ETA \\d+:\\d\\d \\d+ steps/s loss [0-9.]+ test "
                                                "[0-9.]+%")))
      << bar;
  for (std::size_t begin = 4, end; (end = bar.find("\r\033[K", begin)) != std::string::npos; begin = end + 4) {
    EXPECT_LT(end - begin, 80u) << "a line that wraps";
  }
}

TEST_F(Compare, FindsItsDataWhereTheEnvironmentSays) {
  std::filesystem::rename(data_, folder_ / "digits.csv.gz");
  Setting setting;
  setting.environment["ANACT_DATA"] = folder_.path().string();
  EXPECT_EQ(run(tiny(output()), setting).exit_code, 0);
  setting.environment["ANACT_DATA"] = (folder_ / "none").string();
  const auto result = run(tiny(folder_ / "other"), setting);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(result.error.starts_with("anact: no data set digits at '" + (folder_ / "none").string())) << result.error;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "other"));
}

TEST_F(Compare, ARunThatDivergesIsNoFailure) {
  const auto result = run(arguments({"--arms", "silu", "silu:lr=1e30:name=wild"}));
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.error, "wild             seed 0  DIVERGED at epoch 1")) << result.error;
  EXPECT_TRUE(has(content_of(output() / "summary.csv"), "\nwild,1,,,,,1,"));
}

TEST_F(Compare, UnknownArms) {
  EXPECT_TRUE(
      has(refusal({"--arms", "silu", "nsillu"}, 2), "arm 'nsillu': unknown activation 'nsillu'; did you mean nsilu"));
  EXPECT_TRUE(has(refusal({"--arms", "nsilu:solutoin=exact"}, 2), "did you mean solution"));
  EXPECT_TRUE(has(refusal({"--arms", "silu", "silu"}, 2), "two arms of that name"));
  EXPECT_TRUE(has(refusal({"--arms", "silu:vs=relu"}, 2), "vs=relu names no arm"));
  EXPECT_TRUE(has(refusal({"--arms", "silu:name=\xff"}, 2), "expected UTF-8"));
}

TEST_F(Compare, ImpossibleNumbers) {
  for (const auto& [flag, values] : std::map<std::string, std::vector<std::string>>{
           {"--depth", {"0", "-1", "10001", "two", "1.5", "99999999999999999999"}},
           {"--width", {"0", "-8"}},
           {"--epochs", {"-1"}},
           {"--batch-size", {"1", "0"}},
           {"--lr", {"0", "-0.1", "nan", "inf", "fast"}},
           {"--momentum", {"1", "-0.1", "nan"}},
           {"--weight-decay", {"-1", "nan", "inf"}},
           {"--seeds", {"0", "-1"}},
           {"--first-seed", {"-1"}}}) {
    for (const auto& value : values) {
      SCOPED_TRACE(flag + " " + value);
      EXPECT_NE(refusal({flag, value}, 2), "");
    }
  }
  EXPECT_EQ(refusal({"--depth", "0"}, 2), "depth is 0; it must be from 1 to 10000");
}

TEST_F(Compare, WhatCannotBeParsed) {
  EXPECT_TRUE(has(refusal({"--detph", "3"}, 2), "--detph"));
  EXPECT_NE(refusal({"--arms"}, 2), "");
  EXPECT_NE(refusal({"--lr"}, 2), "");
}

TEST_F(Compare, MissingOrCorruptData) {
  const auto bad = folder_.write("bad.csv", "1,2,3\n");
  EXPECT_EQ(
      refusal({"--data-path", bad.string()}, 1),
      "'" + bad.string() + "': line 1: expected 65 whole numbers separated by commas; column 3 is followed by ''");
  const auto missing = (folder_ / "missing").string();
  EXPECT_EQ(refusal({"--data-path", missing}, 1), "cannot open '" + missing + "': No such file or directory");
  EXPECT_TRUE(has(refusal({"--data-path", folder_.path().string()}, 1), "Is a directory"));
  EXPECT_EQ(names_in(folder_.path()), (Names{"bad.csv", "digits.csv"}));
}

TEST_F(Compare, AFolderThatIsNotEmpty) {
  std::filesystem::create_directory(output());
  std::ofstream(output() / "notes.txt") << "mine";
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--overwrite"}}) {
    const auto result = run(arguments(more));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(lines_of(result.error).size(), 1u);
    EXPECT_TRUE(has(result.error, more.empty() ? "is not empty" : "holds no run")) << result.error;
    EXPECT_EQ(names_in(output()), Names{"notes.txt"});
    EXPECT_EQ(content_of(output() / "notes.txt"), "mine");
  }
  // Other programs have a config.json too.
  std::ofstream(output() / "config.json") << "{\"command\": \"serve\"}";
  EXPECT_EQ(run(arguments({"--overwrite"})).exit_code, 2);
  EXPECT_EQ(content_of(output() / "config.json"), "{\"command\": \"serve\"}");
}

TEST_F(Compare, OverwriteReplacesARun) {
  ASSERT_EQ(run(arguments({"--seeds", "2"})).exit_code, 0);
  const auto before = content_of(output() / "metrics.jsonl");
  std::ofstream(output() / "notes.txt") << "mine";
  const auto refused = run(arguments({"--arms", "relu"}));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(has(refused.error, "--overwrite")) << refused.error;
  EXPECT_EQ(content_of(output() / "metrics.jsonl"), before);

  // What is wrong with the new run is found before the old one is touched.
  EXPECT_EQ(run(arguments({"--overwrite", "--depth", "0"})).exit_code, 2);
  EXPECT_EQ(run(arguments({"--overwrite", "--erasing", "2"})).exit_code, 2);
  EXPECT_EQ(run(arguments({"--overwrite", "--print-config", "--mixup", "-1"})).exit_code, 2);
  EXPECT_EQ(run(arguments({"--overwrite", "--data-path", "none"})).exit_code, 1);
  EXPECT_EQ(run(arguments({"--overwrite", "--weights", "none"})).exit_code, 1);
  EXPECT_EQ(run(arguments({"--overwrite", "--weights", (output() / "metrics.csv").string()})).exit_code, 2);
  EXPECT_EQ(content_of(output() / "metrics.jsonl"), before);

  ASSERT_EQ(run(arguments({"--overwrite", "--arms", "relu"})).exit_code, 0);
  EXPECT_FALSE(has(content_of(output() / "metrics.jsonl"), "silu"));
  EXPECT_TRUE(has(content_of(output() / "summary.csv"), "\nrelu,1,"));
  EXPECT_EQ(content_of(output() / "notes.txt"), "mine");
}

TEST_F(Compare, AnEmptyFolderIsFine) {
  std::filesystem::create_directory(output());
  EXPECT_EQ(run(arguments()).exit_code, 0);
}

TEST_F(Compare, AnOutputThatCannotBe) {
  const auto file = folder_.write("file", "content");
  const auto on_file = run(arguments({"--output", file.string()}));
  EXPECT_EQ(on_file.exit_code, 2);
  EXPECT_EQ(on_file.error, "anact: the output '" + file.string() + "' is not a folder\n");
  EXPECT_EQ(content_of(file), "content");
  // Below a file and in /proc nobody can make a folder, not even root.
  for (const std::string& path : {(file / "below").string(), std::string("/proc/anact")}) {
    const auto result = run(arguments({"--output", path}));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(result.error.starts_with("anact: cannot create the output folder '" + path + "'")) << result.error;
    EXPECT_EQ(lines_of(result.error).size(), 1u) << "it began to train: " << result.error;
  }
}

TEST_F(Compare, CtrlCLeavesAPartialRun) {
  const auto program = start();
  program->send(SIGINT);
  const auto result = program->wait();
  EXPECT_EQ(result.exit_code, 130) << result.error;
  EXPECT_TRUE(has(result.out, "Interrupted: the run is partial. To go on: anact train --resume " + output().string()));
  EXPECT_EQ(names_in(output()), with(kRunFiles, "checkpoints"));
  const auto status = json_of(output() / "status.json");
  EXPECT_EQ(status.at("state"), "partial");
  EXPECT_TRUE(has(status.at("reason").get<std::string>(), "interrupted"));
  EXPECT_TRUE(content_of(output() / "metrics.jsonl").ends_with("}\n"));
  EXPECT_TRUE(std::regex_search(content_of(output() / "report.html"), std::regex("partial", std::regex::icase)));
  // A partial run can be overwritten as a whole one can.
  EXPECT_EQ(run(arguments({"--overwrite"})).exit_code, 0);
}

TEST_F(Compare, AKilledRunStillReads) {
  const auto program = start();
  program->send(SIGKILL);
  EXPECT_EQ(program->wait().signal, SIGKILL);
  EXPECT_EQ(json_of(output() / "status.json").at("state"), "running");
  const auto report = run({"report", output().string()});
  EXPECT_EQ(report.exit_code, 0) << report.error;
  EXPECT_TRUE(has(report.out, "Partial: 0 of 2 runs ended")) << report.out;
  EXPECT_EQ(names_in(output()), with(kRunFiles, "lock"));
  EXPECT_EQ(run(arguments({"--overwrite"})).exit_code, 0) << "nobody holds it";
}

TEST_F(Compare, AnUnfinishedLineIsPassedOver) {
  ASSERT_EQ(run(arguments()).exit_code, 0);
  auto text = content_of(output() / "metrics.jsonl");
  std::ofstream(output() / "metrics.jsonl") << text.substr(0, text.size() - 10);
  const auto report = run({"report", output().string()});
  EXPECT_EQ(report.exit_code, 0) << report.error;
  EXPECT_TRUE(has(report.out, "Partial: 1 of 2 runs ended")) << report.out;
}

TEST_F(Compare, ANetworkTooBigForTheMemoryIsOneLine) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer needs more address space than any limit leaves";
#endif
  Setting setting;
  setting.memory = rlim_t{20} << 30;
  ASSERT_EQ(run(arguments()).exit_code, 0);
  const auto before = content_of(output() / "metrics.jsonl");
  const auto result = run(arguments({"--overwrite", "--width", "100000", "--arms", "silu"}), setting);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(lines_of(result.error).size(), 1u) << result.error;
  EXPECT_TRUE(result.error.starts_with("anact: the memory does not suffice for arm 'silu'")) << result.error;
  EXPECT_EQ(content_of(output() / "metrics.jsonl"), before);
}

TEST_F(Compare, StandardStreamsThatCannotBeWritten) {
  for (const std::string stream : {"/dev/full", kClosed}) {
    SCOPED_TRACE(stream);
    Setting setting;
    setting.out = stream;
    const auto result = run(arguments({"--overwrite"}), setting);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(result.error.ends_with("anact: cannot write to standard output\n")) << result.error;
    EXPECT_EQ(json_of(output() / "status.json").at("state"), "complete");
    EXPECT_EQ(run({"report", output().string()}, setting).exit_code, 1);
  }
  // The descriptor of a closed standard error must not become that of a file of the run.
  Setting setting;
  setting.error = kClosed;
  EXPECT_EQ(run(arguments({"--overwrite"}), setting).exit_code, 0);
  for (const auto& line : lines_of(content_of(output() / "metrics.jsonl"))) {
    EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  }
}

TEST_F(Compare, ReportMakesTheSameReportAgain) {
  ASSERT_EQ(run(arguments()).exit_code, 0);
  const auto summary = content_of(output() / "summary.csv"), report = content_of(output() / "report.html");
  std::filesystem::remove(output() / "summary.csv");
  std::filesystem::remove(output() / "report.html");
  const auto result = run({"report", output().string()});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "| nsilu"));
  EXPECT_EQ(content_of(output() / "summary.csv"), summary);
  EXPECT_EQ(content_of(output() / "report.html"), report);
}

TEST_F(Compare, ReportOnWhatIsNoRun) {
  const auto path = folder_.path().string();
  const auto result = run({"report", path});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.error, "anact: '" + path + "': not a run folder: expected a file 'config.json' in it\n");
  EXPECT_EQ(names_in(folder_.path()), Names{"digits.csv"});
  EXPECT_EQ(run({"report", path + "/none"}).exit_code, 1);
  const auto without = run({"report"});
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_EQ(without.error, "anact: folder is required\n");
}

}  // namespace
}  // namespace anact::cli
