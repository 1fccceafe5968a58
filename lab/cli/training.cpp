#include "cli/training.h"

#include <signal.h>

#include <algorithm>
#include <ctime>
#include <iostream>

#include "cli/progress.h"
#include "cli/status_line.h"
#include "io/atomic_file.h"
#include "math/names.h"
#include "text/words.h"

namespace anact::cli {
namespace {

// The first Ctrl-C asks for a clean end, a second one ends at once.
void on_signal(int) {
  stop = true;
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

std::string default_output(const std::string& command) {
  const std::time_t time = std::time(nullptr);
  std::tm local{};
  localtime_r(&time, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  return "runs/" + command + "-" + text;
}

// The progress bar, and the end of what a new run replaces once that run is there.
class Watcher : public ProgressBar {
 public:
  explicit Watcher(train::OutputFolder& folder) : folder_(folder) {}
  void run_started(const torch::nn::Module& network, const train::Progress& progress) override {
    folder_.begun();
    ProgressBar::run_started(network, progress);
  }

 private:
  train::OutputFolder& folder_;
};

bool lies_in(const std::filesystem::path& file, const std::filesystem::path& folder) {
  const auto inside =
      std::filesystem::weakly_canonical(file).lexically_relative(std::filesystem::weakly_canonical(folder));
  return !inside.empty() && *inside.begin() != "..";
}

}  // namespace

std::atomic<bool> stop = false;

void catch_signals() {
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
}

bool watch_training(const std::string& what, train::OutputFolder& folder,
                    const std::function<bool(train::Observer&)>& work) {
  catch_signals();
  std::cerr << what << "; into " << folder.path().string() << "\n";
  Watcher progress(folder);
  bool whole = false;
  try {
    whole = work(progress);
  } catch (...) {
    progress.clear();
    throw;
  }
  progress.clear();
  return whole;
}

std::string arms_and_seeds(const train::Config& config) {
  return "; arms: " + std::to_string(config.arms.size()) + ", seeds: " + std::to_string(config.seeds) +
         ", epochs: " + std::to_string(config.epochs);
}

std::unique_ptr<train::OutputFolder> claim_folder(const TrainingOptions& options, const train::Config& config) {
  namespace fs = std::filesystem;
  if (options.output.empty()) {
    return train::OutputFolder::make_new(default_output(options.invocation.command));
  }
  const fs::path path = options.output;
  if (fs::exists(path) && !fs::is_directory(path)) {
    throw UsageError("the output '" + path.string() + "' is not a folder");
  }
  auto folder = std::make_unique<train::OutputFolder>(path);
  if (folder->is_empty()) return folder;
  if (!options.overwrite) {
    throw UsageError("the output folder '" + path.string() +
                     "' is not empty; name another one, add --overwrite to replace the run in it, or go on with that "
                     "run by `anact train --resume`");
  }
  if (!folder->holds_run()) {
    throw UsageError("the output folder '" + path.string() + "' holds no run, so --overwrite leaves it alone");
  }
  if (!config.weights.empty() && lies_in(config.weights, path)) {
    throw UsageError("the weights '" + config.weights +
                     "' lie in the folder that --overwrite replaces; copy them elsewhere");
  }
  return folder;
}

data::Dataset make_ready(const train::Config& config, train::OutputFolder& folder) {
  auto dataset = open_with_progress(config);
  train::rehearse(config, dataset);
  if (!folder.is_empty()) folder.set_aside();
  return dataset;
}

train::Config with_flags(train::Config config, const TrainingOptions& options) {
  for (const auto& setting : train::settings()) {
    if (options.given.at(setting.flag)->count() == 0) continue;
    const auto& values = options.flags.at(setting.flag);
    // A flag alone has no value.
    train::set(config, setting, values.empty() ? std::vector<std::string>{""} : values);
  }
  return config;
}

train::Config configure(const TrainingOptions& options) {
  train::Config config;
  const auto& preset = options.flags.at("--preset");
  if (!options.config.empty()) {
    train::apply_toml(config, io::read_file(options.config), options.config);
  } else if (const auto& name = preset.empty() ? options.preset : preset.back(); !name.empty()) {
    train::apply_preset(config, name);
  }
  const bool named = options.given.at("--arms")->count() > 0 || !options.config.empty();
  if (!named && !options.arms.empty()) config.arms = options.arms;
  return with_flags(config, options);
}

train::Config configure_and_validate(const TrainingOptions& options) {
  return usage([&] {
    auto config = configure(options);
    train::validate(config);
    return config;
  });
}

data::Dataset open_with_progress(const train::Config& config) {
  StatusLine line;
  auto dataset = train::open_dataset(config, [&](std::int64_t done, std::int64_t of) {
    line.show("Decoding the images, kept for the next time: " + std::to_string(done) + " of " + std::to_string(of));
  });
  line.clear();
  return dataset;
}

std::string preset_names() { return text::join(names_of(train::presets())); }

void add_training_flags(CLI::App& command, const std::shared_ptr<TrainingOptions>& options) {
  train::Config defaults;
  if (!options->preset.empty()) train::apply_preset(defaults, options->preset);
  if (!options->arms.empty()) defaults.arms = options->arms;
  for (const auto& setting : train::settings()) {
    auto& values = options->flags[setting.flag];
    std::string help(setting.help);
    if (setting.flag == "--preset") help += ": " + preset_names();
    auto* option = command.add_option(std::string(setting.flag), values, help)->group(std::string(setting.section));
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
  command.add_option("--config", options->config, "TOML file of settings; see --print-config")->excludes("--preset");
  command.add_flag("--print-config", options->print_config, "Print all settings as such a file, and end");
  command.add_option("--output", options->output,
                     "Folder to write; default: runs/" + options->invocation.command + "-DATE-TIME");
  command.add_flag("--overwrite", options->overwrite, "Replace the run that the output folder holds");
}

}  // namespace anact::cli
