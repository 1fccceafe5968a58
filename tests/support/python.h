// Runs Python, for tests against what others wrote in it.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace anact::test {

struct PythonResult {
  int exit_code = -1;  // -1 when a signal ended it
  std::string out;     // both streams
};

// The Python that the build names; empty when it names none.
inline std::string python() {
#ifdef ANACT_PYTHON
  return ANACT_PYTHON;
#else
  return {};
#endif
}

inline PythonResult run_python(const std::vector<std::string>& arguments) {
  const TemporaryFolder folder;
  const auto out = folder.write("out", "");
  std::vector<std::string> words{python(), "-B"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t process = ::fork();
  if (process < 0) throw std::runtime_error("cannot fork");
  if (process == 0) {
    if (::freopen(out.c_str(), "w", stdout) == nullptr || ::dup2(STDOUT_FILENO, STDERR_FILENO) < 0) ::_exit(126);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  int status = 0;
  if (::waitpid(process, &status, 0) != process) throw std::runtime_error("cannot wait for Python");
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, .out = content_of(out)};
}

// The script of that name beside the test's own source.
inline std::string script(const char* test_source, const std::string& name) {
  return (std::filesystem::path(test_source).parent_path() / name).string();
}

// What a script exits with when a package that it needs is missing.
inline constexpr int kMissingPackage = 77;

}  // namespace anact::test

// Runs the script, or skips the test where there is no Python or a package is missing; a failure otherwise.
#define ANACT_RUN_PYTHON(...)                                                                         \
  do {                                                                                                \
    if (::anact::test::python().empty()) GTEST_SKIP() << "the build names no Python";                 \
    const auto python_result = ::anact::test::run_python({__VA_ARGS__});                              \
    if (python_result.exit_code == ::anact::test::kMissingPackage) GTEST_SKIP() << python_result.out; \
    ASSERT_EQ(python_result.exit_code, 0) << python_result.out;                                       \
  } while (false)
