// The program's subcommands, one source file each.
#pragma once

#include <CLI/CLI.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace anact::cli {

// What the user typed cannot be done: exit code 2. Any other exception is exit code 1.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Exit codes.
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;
inline constexpr int kInterrupted = 130;  // as a shell reports SIGINT

// Calls f and turns the std::invalid_argument of a parser into a UsageError.
template <class F>
auto usage(F f) {
  try {
    return f();
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
}

// Each adds its subcommand to `app`. The command runs while the arguments are parsed, and leaves its exit code in
// `exit_code`. `arguments` is what followed the program's name; both must outlive the parsing.
void add_train(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code);
void add_compare(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code);
void add_probe(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code);
void add_study(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code);
void add_data(CLI::App& app);
void add_models(CLI::App& app);
void add_bench(CLI::App& app);
void add_gains(CLI::App& app);
void add_info(CLI::App& app);
void add_report(CLI::App& app);

}  // namespace anact::cli
