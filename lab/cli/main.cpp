// The program `anact`.

#include <fcntl.h>

#include <algorithm>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/malloc.h"
#include "math/names.h"
#include "text/words.h"

namespace {

// A closed standard descriptor would be handed to the first file that the program opens, and what is meant for the
// terminal would be written into that. Opened for reading, the null device still makes writing fail.
void keep_standard_descriptors() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) < 0) (void)open("/dev/null", O_RDONLY);
  }
}

void complain(std::string message) {
  std::ranges::replace(message, '\n', ' ');
  std::cerr << "anact: " << message << "\n";
}

// Throws unless the first argument is an option or names a command.
void check_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  std::vector<std::string_view> names;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  if (arguments.empty()) {
    throw anact::cli::UsageError("expected a command: " + anact::text::join(names) + "; see anact --help");
  }
  const auto& first = arguments.front();
  if (first.starts_with('-') || std::ranges::find(names, first) != names.end()) return;
  throw anact::cli::UsageError(anact::unknown_choice("command", first, names, 1));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace anact::cli;
  keep_standard_descriptors();
  tune_malloc();

  CLI::App app("ANAct: adaptive normalization for activation functions", "anact");
  app.set_version_flag("--version", "anact " ANACT_VERSION);
  app.require_subcommand(0, 1);
  int exit_code = 0;
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  add_train(app, arguments, exit_code);
  add_compare(app, arguments, exit_code);
  add_probe(app, arguments, exit_code);
  add_study(app, arguments, exit_code);
  add_data(app);
  add_models(app);
  add_gains(app);
  add_bench(app);
  add_report(app);
  add_info(app);
  try {
    check_command(app, arguments);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& help_or_version) {
      app.exit(help_or_version);
    }
    std::cout.flush();
    if (!std::cout) throw std::runtime_error("cannot write to standard output");
  } catch (const CLI::ParseError& error) {
    complain(error.what());
    return kUsage;
  } catch (const UsageError& error) {
    complain(error.what());
    return kUsage;
  } catch (const std::exception& error) {
    complain(error.what());
    return kFailure;
  }
  return exit_code;
}
