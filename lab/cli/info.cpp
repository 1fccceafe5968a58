// anact info: what a bug report needs.

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "anact/options.h"
#include "cli/commands.h"
#include "train/environment.h"

namespace anact::cli {

namespace {

void print_options(bool json) {
  auto rows = nlohmann::json::array();
  for (const auto& option : option_table()) {
    if (json) {
      rows.push_back(
          {{"name", option.name}, {"values", option.values}, {"default", option.write({})}, {"help", option.help}});
    } else {
      std::cout << option.name << "=" << option.write({}) << "\n  " << option.help << "\n  values: " << option.values
                << "\n";
    }
  }
  if (json) std::cout << rows.dump(2) << "\n";
}

void print_recipes(bool json) {
  auto rows = nlohmann::json::array();
  for (const auto& info : recipes()) {
    if (json) {
      rows.push_back({{"name", info.name},
                      {"options", to_text(recipe_options(info.recipe))},
                      {"weights", info.weights},
                      {"help", info.help}});
    } else {
      std::cout << info.name << ": " << info.help
                << "\n  options: " << (info.options.empty() ? "the defaults" : info.options)
                << "\n  initial weights: " << info.weights << "\n";
    }
  }
  if (json) std::cout << rows.dump(2) << "\n";
}

}  // namespace

void add_info(CLI::App& app) {
  auto* command =
      app.add_subcommand("info", "Print versions, processor, threads, GPU and build: what a bug report needs");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print JSON");
  const auto of_options = std::make_shared<bool>(false);
  const auto of_recipes = std::make_shared<bool>(false);
  auto* options_flag = command->add_flag("--options", *of_options, "Print the options of ANAct with their defaults");
  command->add_flag("--recipes", *of_recipes, "Print the recipes, named sets of these options")->excludes(options_flag);
  command->callback([json, of_options, of_recipes] {
    if (*of_options) {
      print_options(*json);
      return;
    }
    if (*of_recipes) {
      print_recipes(*json);
      return;
    }
    auto environment = train::environment();
    environment.update(train::gpu_environment());
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
