// anact train and anact compare: train one network under several arms and write a run folder. They differ in the preset
// that they begin from.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>

#include "cli/training.h"
#include "report/report.h"
#include "report/run.h"
#include "report/summary.h"
#include "text/words.h"
#include "train/experiment.h"

namespace anact::cli {
namespace {

int train_into(train::OutputFolder& output, const std::string& what,
               const std::function<bool(train::Observer&)>& work) {
  const bool whole = watch_training(what, output, work);
  const auto& folder = output.path();
  report::write_report(folder);
  std::cout << "\n" << report::summary_table(report::load_run(folder)) << "\n";
  if (!whole) {
    std::cout << "Interrupted: the run is partial. To go on: anact train --resume " << folder.string() << "\n";
  }
  std::cout << "Report: " << (folder / "report.html").string() << "\n";
  return whole ? 0 : kInterrupted;
}

int run(const TrainingOptions& options) {
  const auto config = configure_and_validate(options);
  if (options.print_config) {
    std::cout << train::to_toml(config);
    return 0;
  }
  const auto folder = claim_folder(options, config);
  const auto dataset = make_ready(config, *folder);
  return train_into(*folder, "Training " + config.model + " on " + config.data + arms_and_seeds(config),
                    [&](train::Observer& observer) {
                      return train::train(config, options.invocation, dataset, folder->path(), observer, stop);
                    });
}

int resume(const std::filesystem::path& folder, const TrainingOptions& options) {
  if (!std::filesystem::is_directory(folder)) {
    throw UsageError("no training to go on with: there is no folder '" + folder.string() + "'");
  }
  train::OutputFolder output(folder);
  const auto config = train::load_config(folder);
  // What a report cannot be made of is found before the training, not after.
  (void)report::load_run(folder);
  auto wanted = usage([&] { return options.config.empty() ? with_flags(config, options) : configure(options); });
  // The data may have moved: they are known by their checksum.
  const auto dataset_config = wanted;
  wanted.data_path = config.data_path;
  if (const auto changed = train::differences(config, wanted); !changed.empty()) {
    throw UsageError("a training goes on as it was begun, but in '" + folder.string() + "' " + text::join(changed));
  }
  const auto dataset = open_with_progress(dataset_config);
  return train_into(output, "Going on training " + config.model + " on " + config.data + arms_and_seeds(config),
                    [&](train::Observer& observer) { return train::resume(dataset, folder, observer, stop); });
}

}  // namespace

void add_train(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  const auto options = std::make_shared<TrainingOptions>();
  options->invocation.command = "train";
  const auto folder = std::make_shared<std::string>();
  auto* command = app.add_subcommand("train", "Train networks with and without ANAct and write a report");
  add_training_flags(*command, options);
  command->add_option("--resume", *folder, "Go on with the training in this folder")
      ->excludes("--output", "--overwrite", "--print-config");
  command->callback([options, folder, &arguments, &exit_code] {
    options->invocation.arguments = arguments;
    const bool no_flags =
        std::ranges::all_of(options->given, [](const auto& flag) { return flag.second->count() == 0; });
    if (no_flags && folder->empty() && options->config.empty()) {
      throw UsageError("say what to train: --preset NAME (" + preset_names() +
                       "), --config FILE, flags such as --data and --model, or --resume FOLDER");
    }
    exit_code = folder->empty() ? run(*options) : resume(*folder, *options);
  });
}

void add_compare(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  const auto options = std::make_shared<TrainingOptions>();
  options->invocation.command = "compare";
  options->preset = "digits";
  auto* command = app.add_subcommand("compare", "The same, beginning from the preset `digits`: a minute's comparison");
  add_training_flags(*command, options);
  command->callback([options, &arguments, &exit_code] {
    options->invocation.arguments = arguments;
    exit_code = run(*options);
  });
}

}  // namespace anact::cli
