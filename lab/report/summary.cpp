#include "report/summary.h"

#include <algorithm>
#include <cmath>

#include "page/table.h"
#include "page/text.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using page::counted;
using page::enumerate;
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

std::string points(const Difference& difference) {
  const std::string text = page::signed_fixed(100 * difference.mean, 2);
  return difference.interval ? text + " ± " + percent(difference.interval) : text;
}

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
  std::vector<std::string> ahead, behind, open, single, without;
  std::size_t fewest = run.seeds.size(), most = 0;
  for (const Row& row : summarize(run)) {
    if (row.baseline.empty()) continue;
    if (!row.difference) {
      without.push_back(row.arm + " (" + row.no_difference + ")");
      continue;
    }
    const Difference& difference = *row.difference;
    fewest = std::min(fewest, difference.pairs);
    most = std::max(most, difference.pairs);
    auto& group = !difference.interval          ? single
                  : !difference.excludes_zero() ? open
                  : difference.mean > 0         ? ahead
                                                : behind;
    group.push_back(row.arm + " (" + points(difference) + " against " + row.baseline + ")");
  }
  const std::size_t compared = ahead.size() + behind.size() + open.size();
  const std::size_t all = compared + single.size() + without.size();
  if (all == 0) return "No arm has a baseline, so nothing is compared.";
  std::string text;
  const auto sentence = [&](const std::string& words) { text += (text.empty() ? "" : " ") + words; };
  const auto verb = [](const auto& group) { return group.size() == 1 ? " lies " : " lie "; };
  if (run.partial) sentence("This is what the runs that have ended so far show.");
  if (compared > 0) {
    sentence("Of " + counted(all, "arm") + " with a baseline, " + std::to_string(ahead.size()) + verb(ahead) +
             "above it in test accuracy after the last epoch by more than the 95 % interval, in percentage points" +
             (ahead.empty() ? "." : ": " + enumerate(ahead) + "."));
    if (!behind.empty()) {
      sentence(std::to_string(behind.size()) + verb(behind) +
               "below it by more than the interval: " + enumerate(behind) + ".");
    }
    if (!open.empty()) {
      sentence("For " + std::to_string(open.size()) +
               " the interval includes zero, so these runs do not tell the arm from its baseline: " + enumerate(open) +
               ".");
    }
  }
  if (!single.empty()) {
    sentence("With a single seed there is no interval, so nothing can be concluded from the difference of " +
             enumerate(single) + ".");
  }
  if (!without.empty()) sentence("No difference is given for " + enumerate(without) + ".");
  if (compared > 0) {
    const std::string pairs = (fewest < most ? std::to_string(fewest) + " to " : "") + counted(most, "paired seed");
    sentence("The intervals are Student's t over " + pairs +
             (compared == 1 ? "."
                            : ", each comparison taken alone: nothing is corrected for making " +
                                  std::to_string(compared) + " of them."));
  }
  return text;
}

}  // namespace anact::report
