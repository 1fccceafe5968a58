#include "report/summary.h"

#include <algorithm>
#include <cmath>

#include "page/table.h"
#include "page/text.h"
#include "report/comparison.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using page::fixed;
using page::percent;

std::vector<const Trial*> with_outcome(const Run& run, std::size_t arm, Outcome outcome) {
  std::vector<const Trial*> trials = run.trials_of(arm);
  std::erase_if(trials, [&](const Trial* trial) { return trial->outcome != outcome; });
  return trials;
}

template <typename Get>
std::vector<double> gather(const std::vector<const Trial*>& trials, Get get) {
  std::vector<double> values;
  for (const Trial* trial : trials) values.push_back(get(*trial));
  return values;
}

void compare(const Run& run, std::size_t arm, std::size_t baseline, Row& row) {
  for (const std::size_t side : {arm, baseline}) {
    if (!with_outcome(run, side, Outcome::diverged).empty()) {
      row.no_difference = run.arms[side].name + " diverged";
      return;
    }
  }
  std::vector<double> values, others;
  for (const Trial* trial : with_outcome(run, arm, Outcome::completed)) {
    for (const Trial* other : with_outcome(run, baseline, Outcome::completed)) {
      if (trial->seed != other->seed) continue;
      values.push_back(trial->epochs.back().test_accuracy);
      others.push_back(other->epochs.back().test_accuracy);
    }
  }
  if (values.empty()) {
    row.no_difference = "no seed in common yet";
  } else {
    row.difference = paired_difference(values, others);
  }
}

std::string csv_number(const std::optional<double>& value) { return value ? page::significant(*value, 6) : ""; }

}  // namespace

double best_accuracy(const Trial& trial) {
  const auto deciding = [](const Epoch& epoch) { return epoch.validation_accuracy.value_or(epoch.test_accuracy); };
  return std::ranges::max_element(trial.epochs, {}, deciding)->test_accuracy;
}

bool has_validation(const Run& run) {
  return std::ranges::any_of(run.trials, [](const Trial& trial) {
    return std::ranges::any_of(trial.epochs, [](const Epoch& epoch) { return epoch.validation_accuracy.has_value(); });
  });
}

std::vector<Row> summarize(const Run& run) {
  std::vector<Row> rows;
  for (std::size_t arm = 0; arm < run.arms.size(); ++arm) {
    Row row;
    row.arm = run.arms[arm].name;
    const auto started = run.trials_of(arm);
    const auto completed = with_outcome(run, arm, Outcome::completed);
    row.started = started.size();
    row.completed = completed.size();
    row.diverged = with_outcome(run, arm, Outcome::diverged).size();
    if (row.diverged == 0 && row.completed > 0) {
      const auto last = gather(completed, [](const Trial& trial) { return trial.epochs.back().test_accuracy; });
      row.accuracy = mean(last);
      row.accuracy_ci95 = interval_95(last);
      row.best_accuracy = mean(gather(completed, best_accuracy));
      const auto wrote_top5 = [](const Trial* trial) { return trial->epochs.back().test_top5.has_value(); };
      if (std::ranges::all_of(completed, wrote_top5)) {
        row.top5 = mean(gather(completed, [](const Trial& trial) { return *trial.epochs.back().test_top5; }));
      }
      row.loss = mean(gather(completed, [](const Trial& trial) { return trial.epochs.back().test_loss; }));
    }
    std::vector<double> seconds;
    for (const Trial* trial : started) {
      for (const Epoch& epoch : trial->epochs) {
        if (epoch.seconds && std::isfinite(*epoch.seconds)) seconds.push_back(*epoch.seconds);
      }
    }
    row.seconds_per_epoch = median(std::move(seconds));
    if (const auto baseline = run.arms[arm].baseline) {
      row.baseline = run.arms[*baseline].name;
      compare(run, arm, *baseline, row);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string summary_csv(const Run& run) {
  std::string csv = "arm,seeds,accuracy_mean,accuracy_ci95,best_accuracy_mean,loss_mean,diverged,seconds_per_epoch\n";
  for (const Row& row : summarize(run)) {
    csv += text::csv_field(row.arm) + "," + std::to_string(row.started) + "," + csv_number(row.accuracy) + "," +
           csv_number(row.accuracy_ci95) + "," + csv_number(row.best_accuracy) + "," + csv_number(row.loss) + "," +
           std::to_string(row.diverged) + "," + csv_number(row.seconds_per_epoch) + "\n";
  }
  return csv;
}

std::string summary_table(const Run& run) {
  page::Table rows{{{"arm", true},
                    {"seeds"},
                    {"accuracy, %"},
                    {"best, %"},
                    {"test loss"},
                    {"difference, points"},
                    {"baseline", true},
                    {"diverged"},
                    {"s/epoch"}},
                   {}};
  for (const Row& row : summarize(run)) {
    rows.rows.push_back({{row.arm},
                         {std::to_string(row.completed) + "/" + std::to_string(run.seeds.size())},
                         {percent(row.accuracy), percent(row.accuracy_ci95)},
                         {percent(row.best_accuracy)},
                         {row.loss ? fixed(*row.loss, 4) : ""},
                         {row.difference ? points(*row.difference) : row.no_difference},
                         {row.baseline},
                         {std::to_string(row.diverged)},
                         {row.seconds_per_epoch ? fixed(*row.seconds_per_epoch, 3) : ""}});
  }
  std::string table = table_markdown(rows);
  table +=
      "\nTest accuracy after the last epoch; ± is the half width of the 95 % interval (Student's t over the seeds).\n"
      "Differences are paired by seed. Seeds: completed of planned.\n";
  if (run.partial) {
    table += "Partial: " + std::to_string(run.ended()) + " of " + std::to_string(run.planned()) + " runs ended" +
             (run.reason.empty() ? "" : " (" + page::plain_cell(run.reason) + ")") + ".\n";
  }
  return table;
}

std::string conclusion(const Run& run) {
  std::vector<Comparison> comparisons;
  for (const Row& row : summarize(run)) {
    comparisons.push_back({row.arm, row.baseline, row.difference, row.no_difference});
  }
  const bool any = std::ranges::any_of(comparisons, [](const Comparison& one) { return !one.baseline.empty(); });
  return (run.partial && any ? "This is what the runs that have ended so far show. " : "") +
         comparison_text(comparisons);
}

}  // namespace anact::report
