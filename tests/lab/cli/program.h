// Runs the program as a user does, and tells what came of it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/temporary_folder.h"

namespace anact::cli::test {

using anact::test::content_of;
using anact::test::names_in;
using anact::test::TemporaryFolder;

inline std::filesystem::path source_folder() { return std::filesystem::path(ANACT_DATA_FOLDER).parent_path(); }

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Result {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out;
  std::string error;
};

// Where a stream goes, if not into the result.
inline constexpr const char* kClosed = "(closed)";

struct Setting {
  std::string out, error;                          // a file's name or kClosed; empty for the result
  std::map<std::string, std::string> environment;  // added to this process's own
  int terminal = -1;                               // a descriptor that standard error goes to
  rlim_t memory = RLIM_INFINITY;                   // address space, in bytes
};

// A program that is running.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const Setting& setting = {})
      : out_(setting.out.empty() ? (streams_ / "out").string() : setting.out),
        error_(setting.error.empty() ? (streams_ / "error").string() : setting.error) {
    std::vector<std::string> words{ANACT_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error("cannot fork");
    if (process_ == 0) {
      redirect(out_, STDOUT_FILENO);
      if (setting.terminal >= 0) {
        ::dup2(setting.terminal, STDERR_FILENO);
      } else {
        redirect(error_, STDERR_FILENO);
      }
      const rlimit memory{setting.memory, setting.memory};
      if (setting.memory != RLIM_INFINITY) ::setrlimit(RLIMIT_AS, &memory);
      // Threads that wait for each other on a busy machine would take most of the time.
      ::setenv("OMP_NUM_THREADS", "1", 0);
      for (const auto& [name, value] : setting.environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }

  void send(int signal) const { ::kill(process_, signal); }

  // Waits until `condition` holds, at most half a minute.
  template <class F>
  static bool await(F condition) {
    for (int i = 0; i < 3000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  Result wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    Result result;
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
    result.out = content_of(streams_ / "out");
    result.error = content_of(streams_ / "error");
    return result;
  }

 private:
  static void redirect(const std::string& target, int descriptor) {
    ::close(descriptor);
    if (target == kClosed) return;
    const int file = ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0) ::_exit(126);
    if (file != descriptor) {
      ::dup2(file, descriptor);
      ::close(file);
    }
  }

  TemporaryFolder streams_;
  std::string out_, error_;
  pid_t process_ = -1;
};

inline Result run(const std::vector<std::string>& arguments, const Setting& setting = {}) {
  return Program(arguments, setting).wait();
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

inline std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  return fields;
}

// The one line of a usage error.
inline std::string refusal(const std::vector<std::string>& arguments) {
  const auto result = run(arguments);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(lines_of(result.error).size(), 1u) << result.error;
  if (!result.error.starts_with("anact: ") || !result.error.ends_with("\n")) return "no message: " + result.error;
  return result.error.substr(7, result.error.size() - 8);
}

// `compare` with a network that trains in a moment, unless `more` says otherwise: a flag there replaces the one here.
inline std::vector<std::string> tiny(const std::filesystem::path& output, const std::vector<std::string>& more = {}) {
  const std::vector<std::vector<std::string>> usual{
      {"--depth", "2"},           {"--width", "8"}, {"--epochs", "1"}, {"--seeds", "1"}, {"--output", output.string()},
      {"--arms", "silu", "nsilu"}};
  std::vector<std::string> arguments{"compare"};
  for (const auto& flag : usual) {
    if (std::find(more.begin(), more.end(), flag.front()) != more.end()) continue;
    arguments.insert(arguments.end(), flag.begin(), flag.end());
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// A file of the digits' form, so that tests need not the real one.
inline std::filesystem::path write_digits(const TemporaryFolder& folder) {
  std::string text;
  unsigned state = 1;
  const auto below = [&](unsigned bound) {
    state = state * 1664525u + 1013904223u;
    return std::to_string((state >> 16) % bound);
  };
  for (int line = 0; line < 1797; ++line) {
    for (int column = 0; column < 64; ++column) text += below(17) + ",";
    text += below(10) + "\n";
  }
  return folder.write("digits.csv", text);
}

}  // namespace anact::cli::test
