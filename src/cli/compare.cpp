// anact compare: trains one network under several arms and writes a run folder.

#include "train/compare.h"

#include <signal.h>

#include <atomic>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cli/commands.h"
#include "cli/progress.h"
#include "data/digits.h"
#include "io/atomic_file.h"
#include "report/report.h"
#include "report/run.h"
#include "report/summary.h"

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
  train::CompareOptions compare;
  std::vector<std::string> arms;
  std::string data;
  std::string output;
  bool overwrite = false;
};

std::string default_output() {
  const std::time_t time = std::time(nullptr);
  std::tm local{};
  localtime_r(&time, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  return std::string("runs/compare-") + text;
}

// Whether `folder` holds a run's configuration. Other programs have a config.json too.
bool holds_run(const std::filesystem::path& folder) {
  if (!std::filesystem::is_regular_file(folder / "config.json")) return false;
  const auto config = nlohmann::json::parse(io::read_file(folder / "config.json"), nullptr, false);
  return config.is_object() && config.contains("schema") && config.value("command", nlohmann::json()) == "compare";
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
                       "' is not empty; name another one, or add --overwrite to replace the run in it");
    }
    if (!holds_run(folder)) {
      throw UsageError("the output folder '" + folder.string() + "' holds no run, so --overwrite leaves it alone");
    }
    // config.json last: until then an interruption leaves what can be overwritten again.
    for (const char* name :
         {"report.html", "summary.csv", "metrics.jsonl", "environment.json", "status.json", "config.json"}) {
      fs::remove(folder / name, error);
      if (error) throw std::runtime_error("cannot remove '" + (folder / name).string() + "': " + error.message());
    }
  }
  fs::create_directories(folder, error);
  if (error) throw std::runtime_error("cannot create the output folder '" + folder.string() + "': " + error.message());
}

int run(Options& options) {
  if (options.arms.empty()) options.arms = train::default_arms();
  usage([&] {
    options.compare.arms = train::parse_arms(options.arms);
    train::validate(options.compare);
  });
  if (options.output.empty()) options.output = default_output();
  const std::filesystem::path folder = options.output;
  const auto dataset =
      data::load_digits(options.data.empty() ? data::find_digits() : std::filesystem::path(options.data));
  prepare_folder(folder, options.overwrite);

  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  std::cerr << "Training an MLP of depth " << options.compare.depth << " and width " << options.compare.width
            << " on the " << dataset.name << "; arms: " << options.compare.arms.size()
            << ", seeds: " << options.compare.seeds << ", epochs: " << options.compare.epochs << "; into "
            << folder.string() << "\n";
  ProgressBar progress;
  const bool whole = train::compare(options.compare, dataset, folder, progress, stop);
  progress.clear();
  report::write_report(folder);
  std::cout << "\n" << report::summary_table(report::load_run(folder)) << "\n";
  if (!whole) std::cout << "Interrupted: the run is partial.\n";
  std::cout << "Report: " << (folder / "report.html").string() << "\n";
  return whole ? 0 : kInterrupted;
}

}  // namespace

void add_compare(CLI::App& app, const std::vector<std::string>& arguments, int& exit_code) {
  auto* command = app.add_subcommand("compare", "Train one network with and without ANAct and write a report");
  const auto options = std::make_shared<Options>();
  auto& compare = options->compare;
  command
      ->add_option("--arms", options->arms,
                   "What to compare, such as silu nsilu 'nrelu:solution=exact:lr=0.01'; see docs/compare.md")
      ->default_str("silu nsilu relu nrelu selu silu-gain silu-batchnorm");
  command->add_option("--depth", compare.depth, "Hidden layers")->capture_default_str();
  command->add_option("--width", compare.width, "Units of each hidden layer")->capture_default_str();
  command->add_option("--epochs", compare.epochs, "Passes over the training samples")->capture_default_str();
  command->add_option("--batch-size", compare.batch_size, "Samples to a step")->capture_default_str();
  command->add_option("--lr", compare.learning_rate, "Learning rate of the arms that set none")->capture_default_str();
  command->add_option("--momentum", compare.momentum, "Momentum of SGD")->capture_default_str();
  command->add_option("--weight-decay", compare.weight_decay, "Weight decay of SGD")->capture_default_str();
  command->add_option("--seeds", compare.seeds, "Paired runs of each arm")->capture_default_str();
  command->add_option("--first-seed", compare.first_seed, "Seed of the first run")->capture_default_str();
  command->add_option("--data", options->data, "digits.csv.gz; default: where `make setup` put it");
  command->add_option("--output", options->output, "Folder to write; default: runs/compare-DATE-TIME");
  command->add_flag("--overwrite", options->overwrite, "Replace the run that the output folder holds");
  command->callback([options, &arguments, &exit_code] {
    options->compare.arguments = arguments;
    exit_code = run(*options);
  });
}

}  // namespace anact::cli
