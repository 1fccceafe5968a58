// anact train and anact compare: train one network under several arms and write a run folder. They differ in the preset
// that they begin from.

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cli/commands.h"
#include "cli/progress.h"
#include "io/atomic_file.h"
#include "report/report.h"
#include "report/run.h"
#include "report/summary.h"
#include "train/experiment.h"

namespace anact::cli {
namespace {

std::atomic<bool> stop = false;

// The first Ctrl-C asks for a clean end, a second one ends at once.
void on_signal(int) {
  stop = true;
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

struct Options {
  train::Invocation invocation;
  std::string preset;  // that the command begins from, unless the user names one
  std::map<std::string_view, std::vector<std::string>> flags;  // what followed each flag of a setting
  std::map<std::string_view, const CLI::Option*> given;        // whether a flag was given
  std::string config;
  std::string resume;
  std::string output;
  bool overwrite = false;
  bool print_config = false;
};

std::string default_output(const std::string& command) {
  const std::time_t time = std::time(nullptr);
  std::tm local{};
  localtime_r(&time, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  return "runs/" + command + "-" + text;
}

// What a run writes; the configuration last, so that an interrupted removal leaves what can be removed again.
constexpr const char* kRunFiles[] = {"report.html", "summary.csv",      "metrics.jsonl", "metrics.csv",
                                     "log.txt",     "tensorboard",      "checkpoints",   "weights",
                                     "config.toml", "environment.json", "status.json",   "config.json"};

// Whether `folder` holds a run's configuration. Other programs have a config.json too.
bool holds_run(const std::filesystem::path& folder) {
  if (!std::filesystem::is_regular_file(folder / "config.json")) return false;
  const auto config = nlohmann::json::parse(io::read_file(folder / "config.json"), nullptr, false);
  if (!config.is_object() || !config.contains("schema")) return false;
  const auto command = config.value("command", nlohmann::json());
  return command == "compare" || command == "train";
}

// Makes `folder` a folder without a run. One that is not empty is refused; with `overwrite`, a run folder is emptied of
// what a run writes, and anything else is refused still.
void prepare_folder(const std::filesystem::path& folder, bool overwrite) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(folder) && !fs::is_directory(folder)) {
    throw UsageError("the output '" + folder.string() + "' is not a folder");
  }
  if (fs::exists(folder) && !fs::is_empty(folder)) {
    if (!overwrite) {
      throw UsageError("the output folder '" + folder.string() +
                       "' is not empty; name another one, add --overwrite to replace the run in it, or go on with that "
                       "run by `anact train --resume`");
    }
    if (!holds_run(folder)) {
      throw UsageError("the output folder '" + folder.string() + "' holds no run, so --overwrite leaves it alone");
    }
    for (const char* name : kRunFiles) {
      fs::remove_all(folder / name, error);
      if (error) throw std::runtime_error("cannot remove '" + (folder / name).string() + "': " + error.message());
    }
  }
  fs::create_directories(folder, error);
  if (error) throw std::runtime_error("cannot create the output folder '" + folder.string() + "': " + error.message());
}

// `config` changed by the flags.
train::Config with_flags(train::Config config, const Options& options) {
  for (const auto& setting : train::settings()) {
    if (options.given.at(setting.flag)->count() == 0) continue;
    const auto& values = options.flags.at(setting.flag);
    // A flag alone has no value.
    train::set(config, setting, values.empty() ? std::vector<std::string>{""} : values);
  }
  return config;
}

train::Config configure(const Options& options) {
  train::Config config;
  const auto& preset = options.flags.at("--preset");
  if (!options.config.empty()) {
    train::apply_toml(config, io::read_file(options.config), options.config);
  } else if (const auto& name = preset.empty() ? options.preset : preset.back(); !name.empty()) {
    train::apply_preset(config, name);
  }
  return with_flags(config, options);
}

data::Dataset open_with_progress(const train::Config& config) {
  StatusLine line;
  auto dataset = train::open_dataset(config, [&](std::int64_t done, std::int64_t of) {
    line.show("Decoding the images, kept for the next time: " + std::to_string(done) + " of " + std::to_string(of));
  });
  line.clear();
  return dataset;
}

std::string arms_and_seeds(const train::Config& config) {
  return "; arms: " + std::to_string(config.arms.size()) + ", seeds: " + std::to_string(config.seeds) +
         ", epochs: " + std::to_string(config.epochs);
}

int train_into(const std::filesystem::path& folder, const std::string& what,
               const std::function<bool(train::Observer&)>& work) {
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  std::cerr << what << "; into " << folder.string() << "\n";
  ProgressBar progress;
  bool whole = false;
  try {
    whole = work(progress);
  } catch (...) {
    progress.clear();
    throw;
  }
  progress.clear();
  report::write_report(folder);
  std::cout << "\n" << report::summary_table(report::load_run(folder)) << "\n";
  if (!whole) {
    std::cout << "Interrupted: the run is partial. To go on: anact train --resume " << folder.string() << "\n";
  }
  std::cout << "Report: " << (folder / "report.html").string() << "\n";
  return whole ? 0 : kInterrupted;
}

int run(const Options& options) {
  const auto config = usage([&] {
    auto chosen = configure(options);
    train::validate(chosen);
    return chosen;
  });
  if (options.print_config) {
    std::cout << train::to_toml(config);
    return 0;
  }
  const std::filesystem::path folder =
      options.output.empty() ? default_output(options.invocation.command) : options.output;
  const auto dataset = open_with_progress(config);
  prepare_folder(folder, options.overwrite);
  return train_into(folder, "Training " + config.model + " on " + config.data + arms_and_seeds(config),
                    [&](train::Observer& observer) {
                      return train::train(config, options.invocation, dataset, folder, observer, stop);
                    });
}

int resume(const Options& options) {
  const std::filesystem::path folder = options.resume;
  const auto config = train::load_config(folder);
  const auto wanted = usage([&] { return options.config.empty() ? with_flags(config, options) : configure(options); });
  if (const auto changed = train::differences(config, wanted); !changed.empty()) {
    std::string text;
    for (const auto& difference : changed) text.append(text.empty() ? "" : ", ").append(difference);
    throw UsageError("a training goes on as it was begun, but in '" + folder.string() + "' " + text);
  }
  const auto dataset = open_with_progress(config);
  return train_into(folder, "Going on training " + config.model + " on " + config.data + arms_and_seeds(config),
                    [&](train::Observer& observer) { return train::resume(dataset, folder, observer, stop); });
}

std::string preset_names() {
  std::string text;
  for (const auto& preset : train::presets()) text.append(text.empty() ? "" : ", ").append(preset.name);
  return text;
}

CLI::App* add_command(CLI::App& app, const std::shared_ptr<Options>& options, const char* description) {
  auto* command = app.add_subcommand(options->invocation.command, description);
  train::Config defaults;
  if (!options->preset.empty()) train::apply_preset(defaults, options->preset);
  for (const auto& setting : train::settings()) {
    auto& values = options->flags[setting.flag];
    std::string help(setting.help);
    if (setting.flag == "--preset") help += ": " + preset_names();
    auto* option = command->add_option(std::string(setting.flag), values, help)->group(std::string(setting.section));
    options->given[setting.flag] = option;
    const bool list = std::holds_alternative<std::vector<std::string> train::Config::*>(setting.member) ||
                      std::holds_alternative<std::vector<std::int64_t> train::Config::*>(setting.member);
    const bool is_switch = std::holds_alternative<bool train::Config::*>(setting.member);
    const bool is_number = std::holds_alternative<double train::Config::*>(setting.member);
    const bool is_whole = std::holds_alternative<std::int64_t train::Config::*>(setting.member) ||
                          std::holds_alternative<std::vector<std::int64_t> train::Config::*>(setting.member);
    option->type_name(is_number ? "NUMBER" : is_whole ? "INT" : "TEXT");
    if (list) {
      option->expected(1, CLI::detail::expected_max_vector_size);
    } else {
      option->expected(1)->take_last();
    }
    auto text = train::to_text(defaults, setting);
    if (is_switch) {
      // CLI11 takes a default text for the value of a flag alone, so --help gets it another way.
      option->expected(0, 1)->type_name(text == "true" ? "ON/OFF=on" : "ON/OFF=off");
      continue;
    }
    std::erase_if(text, [](char c) { return c == '"' || c == '[' || c == ']' || c == ','; });
    option->default_str(text);
  }
  command->add_option("--config", options->config, "TOML file of settings; see --print-config")->excludes("--preset");
  command->add_flag("--print-config", options->print_config, "Print all settings as such a file, and end");
  command->add_option("--output", options->output,
                      "Folder to write; default: runs/" + options->invocation.command + "-DATE-TIME");
  command->add_flag("--overwrite", options->overwrite, "Replace the run that the output folder holds");
  return command;
}

}  // namespace

void add_train(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  const auto options = std::make_shared<Options>();
  options->invocation.command = "train";
  auto* command = add_command(app, options, "Train networks with and without ANAct and write a report");
  command->add_option("--resume", options->resume, "Go on with the training in this folder")
      ->excludes("--output", "--overwrite", "--print-config");
  command->callback([options, &arguments, &exit_code] {
    options->invocation.arguments = arguments;
    const bool no_flags =
        std::ranges::all_of(options->given, [](const auto& flag) { return flag.second->count() == 0; });
    if (no_flags && options->resume.empty() && options->config.empty()) {
      throw UsageError("say what to train: --preset NAME (" + preset_names() +
                       "), --config FILE, flags such as --data and --model, or --resume FOLDER");
    }
    exit_code = options->resume.empty() ? run(*options) : resume(*options);
  });
}

void add_compare(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  const auto options = std::make_shared<Options>();
  options->invocation.command = "compare";
  options->preset = "digits";
  auto* command = add_command(app, options, "The same, beginning from the preset `digits`: a minute's comparison");
  command->callback([options, &arguments, &exit_code] {
    options->invocation.arguments = arguments;
    exit_code = run(*options);
  });
}

}  // namespace anact::cli
