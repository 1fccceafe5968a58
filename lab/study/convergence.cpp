#include "study/convergence.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "io/atomic_file.h"
#include "page/text.h"
#include "report/convergence_page.h"
#include "report/run.h"
#include "text/csv.h"
#include "train/arm.h"
#include "train/probing.h"

namespace anact::study {
namespace {

// A mean that leaves out what is not finite.
class Mean {
 public:
  void add(double value) {
    if (!std::isfinite(value)) return;
    sum_ += value;
    ++count_;
  }
  [[nodiscard]] double value() const { return count_ > 0 ? sum_ / count_ : kNotMeasured; }

 private:
  double sum_ = 0;
  double count_ = 0;
};

// Of the four distances.
struct Means {
  Mean forward_property, backward_property, forward_growth, backward_growth;

  [[nodiscard]] Distance distance() const {
    return {.forward_property = forward_property.value(),
            .backward_property = backward_property.value(),
            .forward_growth = forward_growth.value(),
            .backward_growth = backward_growth.value()};
  }
};

double distance(double ratio) { return std::abs(std::log(ratio)); }

// Of the records of one step, by layer.
Distance distance_in_step(std::span<const LayerRecord> records) {
  Means means;
  const LayerRecord* before = nullptr;
  for (const auto& record : records) {
    if (record.kind == LayerKind::activation) {
      means.forward_property.add(distance(record.forward_property));
      means.backward_property.add(distance(record.backward_property));
    }
    if (record.kind != LayerKind::linear && record.kind != LayerKind::convolution) continue;
    if (before != nullptr) {
      means.forward_growth.add(distance(record.output.second_moment / before->output.second_moment));
      means.backward_growth.add(distance(before->output_gradient.second_moment / record.output_gradient.second_moment));
    }
    before = &record;
  }
  return means.distance();
}

// A distance of which no finite part was measured: the signal was lost, or is so large that its square is infinite.
std::string distance_text(double value) { return std::isfinite(value) ? page::significant(value, 9) : "inf"; }

// The first epoch with this training accuracy; empty when there is none.
std::string epochs_to(const report::Trial& trial, double percent) {
  for (const auto& epoch : trial.epochs) {
    if (epoch.train_accuracy && 100 * *epoch.train_accuracy >= percent) return std::to_string(epoch.epoch);
  }
  return "";
}

// A row of runs.csv, without the distances.
struct Rate {
  double loss_area = 0;
  std::optional<double> final_train_loss;
  std::optional<double> train_accuracy;
  std::optional<double> test_accuracy;
  double best_test_accuracy = 0;
};

Rate rate_of(const report::Trial& trial, std::int64_t epochs, std::int64_t classes) {
  Rate rate;
  double sum = 0;
  std::int64_t seen = 0;
  for (const auto& epoch : trial.epochs) {
    rate.test_accuracy = epoch.test_accuracy;
    rate.best_test_accuracy = std::max(rate.best_test_accuracy, epoch.test_accuracy);
    if (!epoch.train_loss) continue;
    sum += *epoch.train_loss;
    ++seen;
    rate.final_train_loss = epoch.train_loss;
    rate.train_accuracy = epoch.train_accuracy;
  }
  sum += static_cast<double>(epochs - seen) * std::log(static_cast<double>(classes));
  rate.loss_area = sum / static_cast<double>(epochs);
  return rate;
}

}  // namespace

Distance distance_of(std::span<const LayerRecord> records) {
  Means means;
  for (std::size_t begin = 0; begin < records.size();) {
    std::size_t end = begin;
    while (end < records.size() && records[end].step == records[begin].step) ++end;
    const auto of_step = distance_in_step(records.subspan(begin, end - begin));
    means.forward_property.add(of_step.forward_property);
    means.backward_property.add(of_step.backward_property);
    means.forward_growth.add(of_step.forward_growth);
    means.backward_growth.add(of_step.backward_growth);
    begin = end;
  }
  return means.distance();
}

std::vector<std::string> convergence_arms() {
  std::vector<std::string> arms;
  for (const char* activation : {"relu", "silu", "gelu", "mish", "tanh", "elu"}) {
    for (const char* rest : {"", ":init=lecun", ":init=gain"}) arms.push_back(std::string(activation).append(rest));
    const auto normalized = std::string("n").append(activation);
    const auto add = [&](const char* settings, const char* suffix) {
      auto arm = normalized;
      arms.push_back(arm.append(settings).append(":name=").append(normalized).append(suffix));
    };
    arms.push_back(normalized);
    add(":target=unit:init=lecun", "-unit");
    add(":solution=compromise:target=input:momentum=0.1:init=lecun", "-paper");
    add(":solution=compromise:target=input:gain=output:momentum=0.1:init=lecun", "-paper-output");
  }
  arms.emplace_back("selu");
  arms.emplace_back("silu-batchnorm");
  return arms;
}

bool run_convergence(const train::Config& config, const ConvergenceOptions& options,
                     const train::Invocation& invocation, const data::Dataset& dataset,
                     const std::filesystem::path& folder, train::Observer& observer, const std::atomic<bool>& stop) {
  std::map<std::pair<std::string, std::int64_t>, Distance> distances;
  train::ProbingObserver probing(observer, nn::VarianceProbeOptions().every(options.every).predict(false),
                                 [&](const train::RunResult& result, const std::vector<LayerRecord>& records) {
                                   distances[{result.arm, result.seed}] = distance_of(records);
                                 });
  if (!train::train(config, invocation, dataset, folder, probing, stop)) return false;

  const auto arms = train::parse_arms(config.arms);
  const auto run = report::load_run(folder);
  std::vector<std::string> header(report::kConvergenceColumns.begin(), report::kConvergenceColumns.end());
  for (const double threshold : options.thresholds) header.push_back("epochs_to_" + page::significant(threshold, 6));
  std::string csv = text::csv_row(header);
  const auto steps_per_epoch = (dataset.train.size() + config.batch_size - 1) / config.batch_size;
  for (const auto& trial : run.trials) {
    const auto& arm = arms[trial.arm];
    const auto& distance = distances.at({arm.name, static_cast<std::int64_t>(trial.seed)});
    const auto rate = rate_of(trial, config.epochs, dataset.classes());
    const bool diverged = trial.outcome == report::Outcome::diverged;
    const auto epochs = trial.epochs.empty() ? 0 : static_cast<std::int64_t>(trial.epochs.back().epoch);
    std::vector<std::string> row{arm.name,
                                 arm.activation_name(),
                                 arm.normalization == train::Normalization::anact ? "true" : "false",
                                 std::to_string(trial.seed),
                                 diverged ? "diverged" : "completed",
                                 std::to_string(epochs * steps_per_epoch)};
    for (const double value :
         {distance.forward_property, distance.backward_property, distance.forward_growth, distance.backward_growth}) {
      row.push_back(distance_text(value));
    }
    row.push_back(page::significant(rate.loss_area, 9));
    for (const auto& value : {rate.final_train_loss, rate.train_accuracy, rate.test_accuracy}) {
      row.push_back(value ? page::significant(*value, 9) : "");
    }
    row.push_back(page::significant(rate.best_test_accuracy, 9));
    for (const double threshold : options.thresholds) row.push_back(epochs_to(trial, threshold));
    csv += text::csv_row(row);
  }
  io::write_file(folder / "runs.csv", csv);
  return true;
}

}  // namespace anact::study
