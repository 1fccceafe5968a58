// The stub libraries that the tests open, and processes of their own that do.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace anact::gpu::test {

using anact::test::content_of;
using anact::test::names_in;
using anact::test::TemporaryFolder;

inline std::filesystem::path stub(const std::string& name) { return std::filesystem::path(ANACT_GPU_STUBS) / name; }

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// An environment variable that is set while the object lives.
class Variable {
 public:
  Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str()); before != nullptr) before_ = before;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() {
    if (before_) {
      ::setenv(name_.c_str(), before_->c_str(), 1);
    } else {
      ::unsetenv(name_.c_str());
    }
  }

 private:
  std::string name_;
  std::optional<std::string> before_;
};

// The calls of the stubs while the object lives, of this process and of its children.
class Calls {
 public:
  [[nodiscard]] std::vector<std::string> all() const { return lines_of(content_of(folder_ / "log")); }
  [[nodiscard]] std::size_t count(const std::string& start) const {
    const auto lines = all();
    return static_cast<std::size_t>(
        std::count_if(lines.begin(), lines.end(), [&](const auto& line) { return line.starts_with(start); }));
  }

 private:
  TemporaryFolder folder_;
  Variable log_{"ANACT_STUB_LOG", (folder_ / "log").string()};
};

struct ChildResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out;  // both streams
};

// gpu_child with these arguments. Of the libraries here it sees those that the environment given has it see.
class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments, std::map<std::string, std::string> environment = {}) {
    std::vector<std::string> words{ANACT_GPU_CHILD};
    words.insert(words.end(), arguments.begin(), arguments.end());
    for (const char* name : {"CUDA_HOME", "CUDA_PATH", "LD_LIBRARY_PATH", "ANACT_CUDA"}) environment.emplace(name, "");
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error("cannot fork");
    if (process_ == 0) {
      const int file = ::open((folder_ / "out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      if (file < 0 || ::dup2(file, STDOUT_FILENO) < 0 || ::dup2(file, STDERR_FILENO) < 0) ::_exit(126);
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  ChildResult wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    ChildResult result;
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
    result.out = content_of(folder_ / "out");
    return result;
  }

 private:
  TemporaryFolder folder_;
  pid_t process_ = -1;
};

inline ChildResult run_child(const std::vector<std::string>& arguments,
                             const std::map<std::string, std::string>& environment = {}) {
  return Child(arguments, environment).wait();
}

}  // namespace anact::gpu::test
