// anact report: the report of a run folder, made again from its files.

#include "report/report.h"

#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "report/run.h"
#include "report/summary.h"

namespace anact::cli {

void add_report(CLI::App& app) {
  auto* command = app.add_subcommand("report", "Make summary.csv and report.html of a run folder again");
  const auto folder = std::make_shared<std::string>();
  command->add_option("folder", *folder, "A folder that `anact train` or `anact compare` wrote")->required();
  command->callback([folder] {
    report::write_report(*folder);
    std::cout << report::summary_table(report::load_run(*folder))
              << "\nReport: " << (std::filesystem::path(*folder) / "report.html").string() << "\n";
  });
}

}  // namespace anact::cli
