// What the commands that train have in common: the flags of all settings, the configuration they make, the folder.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "data/dataset.h"
#include "train/config.h"
#include "train/experiment.h"
#include "train/observer.h"
#include "train/output_folder.h"

namespace anact::cli {

struct TrainingOptions {
  train::Invocation invocation;
  std::string preset;             // that the command begins from, unless the user names one
  std::vector<std::string> arms;  // of the command, unless the user names some; empty: the preset's
  std::map<std::string_view, std::vector<std::string>> flags;  // what followed each flag of a setting
  std::map<std::string_view, const CLI::Option*> given;        // whether a flag was given
  std::string config;
  std::string output;
  bool overwrite = false;
  bool print_config = false;
};

// Becomes true at the first Ctrl-C after catch_signals(); a second one ends the program.
extern std::atomic<bool> stop;
void catch_signals();

// Says what is trained and where to, and does `work` under a progress bar, which is gone when this returns or throws.
// Returns what `work` does: whether all runs ended. What the folder held before goes when the first run has begun.
[[nodiscard]] bool watch_training(const std::string& what, train::OutputFolder& folder,
                                  const std::function<bool(train::Observer&)>& work);

// "; arms: 2, seeds: 3, epochs: 12".
[[nodiscard]] std::string arms_and_seeds(const train::Config& config);

// `command` with a flag for each setting, and --config, --print-config, --output and --overwrite.
void add_training_flags(CLI::App& command, const std::shared_ptr<TrainingOptions>& options);

// `config` changed by the flags; and the whole configuration: preset or file, then flags.
[[nodiscard]] train::Config with_flags(train::Config config, const TrainingOptions& options);
[[nodiscard]] train::Config configure(const TrainingOptions& options);
// The same, checked. Throws UsageError.
[[nodiscard]] train::Config configure_and_validate(const TrainingOptions& options);

[[nodiscard]] data::Dataset open_with_progress(const train::Config& config);

// The folder that the options name, else a new one, runs/COMMAND-DATE-TIME; made, and held against other processes. One
// that is not empty is refused; with --overwrite, one that holds a run is not, unless the network's weights lie in it.
[[nodiscard]] std::unique_ptr<train::OutputFolder> claim_folder(const TrainingOptions& options,
                                                                const train::Config& config);

// The data set of a new run, once all is done that can fail before the first step; then the run that the folder holds
// is set aside.
[[nodiscard]] data::Dataset make_ready(const train::Config& config, train::OutputFolder& folder);

// "digits, mnist-mlp, ...".
[[nodiscard]] std::string preset_names();

}  // namespace anact::cli
