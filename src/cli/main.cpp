// The program `anact`.

#include <malloc.h>

#include <algorithm>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "cli/commands.h"

int main(int argc, char** argv) {
  using namespace anact::cli;
  // glibc gives big blocks back to the system at every step of a training; taking them again costs page faults.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);

  CLI::App app("ANAct: adaptive normalization for activation functions", "anact");
  app.set_version_flag("--version", "anact " ANACT_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  int exit_code = 0;
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  add_compare(app, arguments, exit_code);
  add_gains(app);
  add_report(app);
  add_info(app);
  try {
    app.parse(argc, argv);
    std::cout.flush();
    if (!std::cout) throw std::runtime_error("cannot write to standard output");
  } catch (const CLI::ParseError& error) {
    // Help and version are such "errors" too, of code 0.
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const UsageError& error) {
    std::cerr << "anact: " << error.what() << "\n";
    return kUsage;
  } catch (const std::exception& error) {
    std::cerr << "anact: " << error.what() << "\n";
    return kFailure;
  }
  return exit_code;
}
