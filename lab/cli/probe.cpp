// anact probe: how activations and gradients grow in one network, measured and predicted.

#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/training.h"
#include "io/atomic_file.h"
#include "layers/csv.h"
#include "layers/page.h"
#include "layers/table.h"
#include "report/run.h"
#include "train/experiment.h"
#include "train/probing.h"

namespace anact::cli {
namespace {

struct Options {
  std::shared_ptr<TrainingOptions> training = std::make_shared<TrainingOptions>();
  std::string checkpoint;
  std::int64_t every = 0;
};

// When --every is not given: as many measured steps as a heat map has columns for.
constexpr std::int64_t kMeasuredSteps = 40;

// What the page says of the training.
report::Fields settings_of(const report::Run& run, std::int64_t every) {
  report::Fields result{{"arm", run.arms.front().name}, {"data", run.data_name}, {"model", run.model_name}};
  for (const auto* fields : {&run.model, &run.training}) {
    for (auto [name, value] : *fields) {
      std::ranges::replace(name, '_', ' ');
      result.emplace_back(std::move(name), value);
    }
  }
  result.emplace_back("measured", every == 1 ? "every step" : "one step in " + std::to_string(every));
  return result;
}

int run(const Options& options) {
  auto config = configure_and_validate(*options.training);
  if (!options.checkpoint.empty()) config.weights = options.checkpoint;
  if (config.arms.size() != 1) {
    throw UsageError("a probe looks at one network, but there are " + std::to_string(config.arms.size()) +
                     " arms; name one with --arms");
  }
  if (config.epochs < 1) throw UsageError("--epochs is 0, but a probe measures training steps; expected at least 1");
  config.seeds = 1;
  // These would be measured as passes of the step.
  config.layer_samples = 0;
  config.save_weights = false;
  if (options.training->print_config) {
    std::cout << train::to_toml(config);
    return 0;
  }
  const auto output = claim_folder(*options.training, config);
  const auto& folder = output->path();
  const auto dataset = make_ready(config, *output);
  const auto steps_per_epoch = (dataset.train.size() + config.batch_size - 1) / config.batch_size;
  auto steps = steps_per_epoch * config.epochs;
  if (config.steps > 0) steps = std::min(steps, config.steps);
  const auto every = options.every > 0 ? options.every : std::max<std::int64_t>(1, steps / kMeasuredSteps);
  std::vector<LayerRecord> records;
  train::RunResult result;
  const bool whole = watch_training(
      "Probing " + config.model + " on " + config.data + ", arm " + config.arms.front() + ", " + std::to_string(steps) +
          " steps, one measured in " + std::to_string(every),
      *output, [&](train::Observer& next) {
        train::ProbingObserver observer(next, nn::VarianceProbeOptions().every(every),
                                        [&](const train::RunResult& of, std::vector<LayerRecord> taken) {
                                          result = of;
                                          records = std::move(taken);
                                        });
        const bool ended = train::train(config, options.training->invocation, dataset, folder, observer, stop);
        if (!ended) records = observer.take_interrupted();
        return ended;
      });
  if (records.empty()) throw std::runtime_error("no step ended, so nothing was measured");

  io::write_file(folder / "probe.csv", layers::layer_csv(records));
  io::write_file(folder / "probe.html",
                 layers::probe_html({.title = config.model + " on " + config.data + ", " + config.arms.front(),
                                     .settings = settings_of(report::load_run(folder), every),
                                     .records = records}));
  std::cout << "\nLayers in step " << records.back().step << ":\n\n"
            << layers::layer_table(layers::last_step(records)) << "\n";
  if (result.diverged) std::cout << "The training diverged: " << result.divergence << "\n";
  if (!whole) std::cout << "Interrupted: these are the steps before.\n";
  std::cout << "Table:  " << (folder / "probe.csv").string() << "\nReport: " << (folder / "probe.html").string()
            << "\n";
  return whole ? 0 : kInterrupted;
}

}  // namespace

void add_probe(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  const auto options = std::make_shared<Options>();
  options->training->invocation.command = "probe";
  options->training->arms = {"nsilu"};
  auto* command = app.add_subcommand(
      "probe", "Measure how activations and gradients grow, layer by layer, and compare with the theory");
  add_training_flags(*command, options->training);
  command->add_option("--checkpoint", options->checkpoint,
                      "Begin from this file: weights, or a checkpoint of `anact train`; the same as --weights");
  command->add_option("--every", options->every, "Measure one step in so many; 0: about forty in all")
      ->check(CLI::NonNegativeNumber);
  command->callback([options, &arguments, &exit_code] {
    options->training->invocation.arguments = arguments;
    exit_code = run(*options);
  });
}

}  // namespace anact::cli
