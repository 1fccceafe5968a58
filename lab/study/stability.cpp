#include "study/stability.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "io/atomic_file.h"
#include "page/text.h"
#include "report/run.h"
#include "text/csv.h"
#include "train/arm.h"

namespace anact::study {

std::vector<std::string> stability_arms() {
  return {"silu",
          "nsilu",
          "nsilu:init=lecun",
          "nsilu:solution=compromise",
          "nsilu:target=input",
          "nsilu:target=unit",
          "nsilu:statistics=running",
          "nsilu:momentum=0.1",
          "nsilu:gate=0.5,2",
          "nsilu:bounds=0.5,2",
          "nsilu:learnable=off",
          "nsilu-paper",
          "relu",
          "nrelu",
          "elu",
          "nelu",
          "selu",
          "selu:init=orthogonal",
          "silu-batchnorm"};
}

bool run_stability(const train::Config& config, const StabilityOptions& options, const train::Invocation& invocation,
                   const data::Dataset& dataset, const std::filesystem::path& folder, train::Observer& observer,
                   const std::atomic<bool>& stop) {
  if (config.model != "mlp") {
    throw std::invalid_argument("the stability study varies the depth of the network mlp; the model is " +
                                config.model);
  }
  const auto arms = train::parse_arms(config.arms);
  for (const auto& arm : arms) {
    if (arm.learning_rate) {
      throw std::invalid_argument("arm '" + arm.name +
                                  "' has a learning rate of its own, which the stability study varies");
    }
  }
  // Every arm with every rate, the rates of an arm one after another.
  auto expanded = config;
  expanded.arms.clear();
  for (const auto& arm : config.arms) {
    for (const double rate : options.learning_rates) {
      auto text = arm;
      text.append(":lr=").append(page::significant(rate, 9));
      text.append(":name=").append(std::to_string(expanded.arms.size()));
      expanded.arms.push_back(std::move(text));
    }
  }
  std::string csv = "arm,depth,lr,seed,status,test_accuracy,best_test_accuracy,final_train_loss\n";
  for (const auto depth : options.depths) {
    expanded.depth = depth;
    const auto of_depth = folder / ("depth-" + std::to_string(depth));
    std::filesystem::create_directories(of_depth);
    if (!train::train(expanded, invocation, dataset, of_depth, observer, stop)) return false;
    for (const auto& trial : report::load_run(of_depth).trials) {
      const auto rates = options.learning_rates.size();
      const bool diverged = trial.outcome == report::Outcome::diverged;
      double best = 0;
      for (const auto& epoch : trial.epochs) best = std::max(best, epoch.test_accuracy);
      const auto* last = trial.epochs.empty() ? nullptr : &trial.epochs.back();
      csv +=
          text::csv_row({arms[trial.arm / rates].name, std::to_string(depth),
                         page::significant(options.learning_rates[trial.arm % rates], 9), std::to_string(trial.seed),
                         diverged ? "diverged" : "completed",
                         last == nullptr ? "" : page::significant(last->test_accuracy, 9), page::significant(best, 9),
                         last == nullptr || !last->train_loss ? "" : page::significant(*last->train_loss, 9)});
    }
  }
  io::write_file(folder / "runs.csv", csv);
  return true;
}

}  // namespace anact::study
