// anact study: many trainings that answer one question.

#include <iostream>
#include <memory>

#include "cli/training.h"
#include "io/atomic_file.h"
#include "report/convergence_page.h"
#include "report/stability_page.h"
#include "study/convergence.h"
#include "study/stability.h"

namespace anact::cli {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

Settings settings_of(const train::Config& config, const TrainingOptions& options) {
  std::string command = "anact";
  // What repeats the study elsewhere: not where its files lie.
  const auto& arguments = options.invocation.arguments;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--output" || arguments[i] == "--data-path") {
      ++i;
    } else if (arguments[i] != "--overwrite") {
      command.append(" ").append(arguments[i]);
    }
  }
  Settings result{{"command", command}, {"data", config.data}, {"model", config.model}};
  if (config.model == "mlp") result.emplace_back("width", std::to_string(config.width));
  result.emplace_back("epochs", std::to_string(config.epochs));
  result.emplace_back("seeds", std::to_string(config.seeds));
  return result;
}

// The configuration of a study, which keeps of each run only what its question needs.
train::Config study_config(const TrainingOptions& options) {
  auto config = configure_and_validate(options);
  if (options.given.at("--seeds")->count() == 0 && options.config.empty()) config.seeds = 3;
  if (config.epochs < 1) throw UsageError("--epochs is 0; a study needs at least 1");
  // These would be measured as passes of the step.
  config.layer_samples = 0;
  config.save_weights = false;
  config.tensorboard = false;
  config.checkpoint_minutes = 0;
  return config;
}

// The beginning and the end that all studies share. `work` trains and says whether it came to the end, `conclude`
// writes and prints what came of it.
template <class Work, class Conclude>
int run(const TrainingOptions& options, const train::Config& config, const std::string& what, const Work& work,
        const Conclude& conclude) {
  if (options.print_config) {
    std::cout << train::to_toml(config);
    return 0;
  }
  const auto dataset = open_with_progress(config);
  const auto folder = prepare_folder(options);
  const bool whole = watch_training(
      what, folder, [&](train::Observer& observer) { return usage([&] { return work(dataset, folder, observer); }); });
  if (!whole) {
    std::cout << "Interrupted: a study cannot be gone on with; begin anew with --overwrite.\n";
    return kInterrupted;
  }
  conclude(folder);
  std::cout << "Runs:   " << (folder / "runs.csv").string() << "\nReport: " << (folder / "study.html").string() << "\n";
  return 0;
}

int run_convergence(const TrainingOptions& options, const study::ConvergenceOptions& study) {
  const auto config = study_config(options);
  return run(
      options, config, "Convergence study: " + config.model + " on " + config.data + arms_and_seeds(config),
      [&](const data::Dataset& dataset, const std::filesystem::path& folder, train::Observer& observer) {
        return study::run_convergence(config, study, options.invocation, dataset, folder, observer, stop);
      },
      [&](const std::filesystem::path& folder) {
        const auto path = folder / "runs.csv";
        const auto runs = report::parse_convergence(io::read_file(path), path.string());
        const auto found = report::correlations(runs);
        io::write_file(folder / "correlations.csv", report::correlations_csv(found));
        auto settings = settings_of(config, options);
        if (config.model == "mlp") settings.emplace_back("depth", std::to_string(config.depth));
        io::write_file(folder / "study.html",
                       report::convergence_html({.title = "Convergence and the normalization property: " +
                                                          config.model + " on " + config.data,
                                                 .settings = settings,
                                                 .study = runs,
                                                 .correlations = found}));
        std::cout << "\n"
                  << report::correlations_table(found) << "\n"
                  << report::convergence_conclusion(found) << "\n\n";
      });
}

int run_stability(const TrainingOptions& options, const study::StabilityOptions& study) {
  const auto config = study_config(options);
  return run(
      options, config, "Stability study: " + config.model + " on " + config.data + arms_and_seeds(config),
      [&](const data::Dataset& dataset, const std::filesystem::path& folder, train::Observer& observer) {
        return study::run_stability(config, study, options.invocation, dataset, folder, observer, stop);
      },
      [&](const std::filesystem::path& folder) {
        const auto path = folder / "runs.csv";
        const auto runs = report::parse_stability(io::read_file(path), path.string());
        const auto rows = report::summarize_stability(runs);
        io::write_file(folder / "summary.csv", report::stability_csv(rows));
        io::write_file(folder / "study.html", report::stability_html({.title = "Stability by depth and learning rate",
                                                                      .settings = settings_of(config, options),
                                                                      .runs = runs}));
        std::cout << "\n" << report::stability_table(rows) << "\n";
      });
}

}  // namespace

void add_study(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  auto* group = app.add_subcommand("study", "Train many networks to answer one question, and write a report");
  group->require_subcommand(1);

  const auto convergence = std::make_shared<TrainingOptions>();
  convergence->invocation.command = "study";
  convergence->preset = "digits";
  convergence->arms = study::convergence_arms();
  const auto convergence_options = std::make_shared<study::ConvergenceOptions>();
  auto* command = group->add_subcommand(
      "convergence", "Does the rate of convergence go with the normalization property? 3 seeds unless --seeds says so");
  add_training_flags(*command, convergence);
  command->add_option("--every", convergence_options->every, "Measure one step in so many")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--thresholds", convergence_options->thresholds,
                   "Training accuracies in percent: the epochs until each are counted")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->callback([=, &arguments, &exit_code] {
    convergence->invocation.arguments = arguments;
    exit_code = run_convergence(*convergence, *convergence_options);
  });

  const auto stability = std::make_shared<TrainingOptions>();
  stability->invocation.command = "study";
  stability->preset = "digits";
  stability->arms = study::stability_arms();
  const auto stability_options = std::make_shared<study::StabilityOptions>();
  command = group->add_subcommand(
      "stability", "How large a learning rate does each arm bear, by depth? 3 seeds unless --seeds says so");
  add_training_flags(*command, stability);
  command->add_option("--depths", stability_options->depths, "Depths of the network")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--lrs", stability_options->learning_rates, "Learning rates")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->callback([=, &arguments, &exit_code] {
    stability->invocation.arguments = arguments;
    exit_code = run_stability(*stability, *stability_options);
  });
}

}  // namespace anact::cli
