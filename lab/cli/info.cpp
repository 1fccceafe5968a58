// anact info: what a bug report needs.

#include <iostream>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "train/environment.h"

namespace anact::cli {

void add_info(CLI::App& app) {
  auto* command = app.add_subcommand("info", "Print versions, processor, threads and build: what a bug report needs");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json] {
    const auto environment = train::environment();
    if (*json) {
      std::cout << environment.dump(2) << "\n";
      return;
    }
    for (const auto& [name, value] : environment.items()) {
      std::cout << name << std::string(name.size() < 18 ? 18 - name.size() : 1, ' ')
                << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
    }
  });
}

}  // namespace anact::cli
