#include "report/study_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "page/text.h"
#include "report/comparison.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using page::Cell;
using page::counted;
using page::fixed;
using page::percent;
using page::significant;

// One arm's rows, by setting.
struct ArmRows {
  const StudyArm* plan = nullptr;
  std::vector<Tried> tries = {};
  std::optional<TrialSetting> chosen = std::nullopt;
  bool trials_missing = false;  // that may change the choice

  [[nodiscard]] const Tried* at(const TrialSetting& setting) const {
    const auto found = std::ranges::find(tries, setting, &Tried::setting);
    return found == tries.end() ? nullptr : &*found;
  }
};

// Of one setting the means are taken over the trial seeds, which every setting has.
class Judge {
 public:
  explicit Judge(const StudyExperiment& experiment) : experiment_(experiment) {}

  [[nodiscard]] Tried trial(const Tried& tried) const {
    return at_seeds(tried, experiment_.first_seed, experiment_.trial_seeds);
  }

  // Whether no run that is missing could make a mean of it, or one could be taken.
  [[nodiscard]] bool decided(const Tried* tried) const {
    return tried != nullptr && (tried->diverged > 0 || trial(*tried).rows.size() >= experiment_.trial_seeds);
  }

  // The mean that settings are compared by; NaN unless all tries completed, and all trial seeds among them.
  [[nodiscard]] double accuracy(const Tried* tried) const {
    if (tried == nullptr || tried->diverged > 0 || !decided(tried)) return kUnknown;
    const auto of_trials = trial(*tried);
    const double validation = of_trials.validation_accuracy();
    return std::isnan(validation) ? of_trials.test_accuracy() : validation;
  }

  // The worst seed's, in the same way.
  [[nodiscard]] double worst(const Tried& tried) const {
    const auto of_trials = trial(tried);
    double least = std::numeric_limits<double>::infinity();
    for (const auto* row : of_trials.rows) {
      least = std::min(least, std::isnan(row->validation_accuracy) ? row->test_accuracy : row->validation_accuracy);
    }
    return least;
  }

 private:
  const StudyExperiment& experiment_;
};

ArmRows rows_of(const StudyExperiment& experiment, std::span<const StudyRow> rows, const StudyArm& arm) {
  ArmRows result{.plan = &arm, .tries = tried(rows, experiment.name, arm.name)};
  const Judge judge(experiment);
  result.trials_missing = std::ranges::any_of(
      experiment.trials, [&](const TrialSetting& setting) { return !judge.decided(result.at(setting)); });
  if (experiment.trials.size() > 1) {
    result.chosen = choose(result.tries, experiment.first_seed, experiment.trial_seeds);
  } else if (!result.tries.empty()) {
    result.chosen = result.tries.front().setting;
  }
  return result;
}

std::vector<ArmRows> arms_of(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  std::vector<ArmRows> arms;
  for (const StudyArm& arm : experiment.arms) arms.push_back(rows_of(experiment, rows, arm));
  return arms;
}

// None before every arm's trials are in, unless all arms go on.
std::optional<std::vector<std::string>> finalists_of(const StudyExperiment& experiment,
                                                     const std::vector<ArmRows>& arms) {
  std::set<std::string> names;
  if (experiment.finalists == 0) {
    for (const ArmRows& arm : arms) names.insert(arm.plan->name);
  } else {
    if (std::ranges::any_of(arms, &ArmRows::trials_missing)) return std::nullopt;
    const Judge judge(experiment);
    std::vector<std::pair<double, const StudyArm*>> ranking;
    for (const ArmRows& arm : arms) {
      const double accuracy = arm.chosen ? judge.accuracy(arm.at(*arm.chosen)) : kUnknown;
      if (!std::isnan(accuracy)) ranking.emplace_back(-accuracy, arm.plan);
    }
    std::ranges::stable_sort(ranking, {}, &std::pair<double, const StudyArm*>::first);
    ranking.resize(std::min(ranking.size(), experiment.finalists));
    names.insert(experiment.keep.begin(), experiment.keep.end());
    for (const auto& [accuracy, arm] : ranking) {
      names.insert(arm->name);
      names.insert(arm->baseline);
    }
  }
  std::vector<std::string> in_order;
  for (const ArmRows& arm : arms) {
    if (names.contains(arm.plan->name)) in_order.push_back(arm.plan->name);
  }
  return in_order;
}

double best_accuracy(const Judge& judge, const std::vector<ArmRows>& arms) {
  double best = kUnknown;
  for (const ArmRows& arm : arms) {
    for (const Tried& one : arm.tries) best = std::fmax(best, judge.accuracy(&one));
  }
  return best;
}

std::optional<RateBand> band_of(const StudyExperiment& experiment, const ArmRows& arm, double best) {
  const auto [chosen_rate, weight_decay] = *arm.chosen;
  std::set<double> all;
  for (const TrialSetting& setting : experiment.trials) {
    if (setting.weight_decay == weight_decay) all.insert(setting.learning_rate);
  }
  const std::vector<double> rates(all.begin(), all.end());
  const auto works = [&](double rate) {
    // Room for the rounding of the difference.
    return Judge(experiment).accuracy(arm.at({rate, weight_decay})) >= best - experiment.works_within - 1e-12;
  };
  const auto chosen = std::ranges::find(rates, chosen_rate);
  if (chosen == rates.end() || !works(*chosen)) return std::nullopt;
  auto low = chosen, high = chosen;
  while (low != rates.begin() && works(*(low - 1))) --low;
  while (high + 1 != rates.end() && works(*(high + 1))) ++high;
  return RateBand{
      .low = *low, .high = *high, .at_smallest = low == rates.begin(), .at_largest = high + 1 == rates.end()};
}

// What the chosen setting has to say, and why not.
void add_accuracy(const StudyExperiment& experiment, const ArmRows& arm, ArmSummary& summary) {
  if (arm.tries.empty()) {
    summary.no_accuracy = "no run yet";
  } else if (!arm.chosen) {
    summary.no_accuracy = arm.trials_missing ? "trials missing" : "diverged at every setting";
  } else {
    const Tried& chosen = *arm.at(*arm.chosen);
    summary.seeds = chosen.rows.size();
    if (chosen.diverged > 0) {
      summary.no_accuracy = "diverged at " + std::to_string(chosen.diverged) + " of " + counted(summary.seeds, "seed");
    } else if (std::isnan(chosen.test_accuracy())) {
      summary.no_accuracy = "no test accuracy";
    } else {
      std::vector<double> accuracies;
      for (const StudyRow* row : chosen.rows) accuracies.push_back(row->test_accuracy);
      summary.accuracy = mean(accuracies);
      summary.accuracy_ci95 = interval_95(accuracies);
    }
  }
  summary.provisional = experiment.trials.size() > 1 && arm.trials_missing;
}

void compare(const ArmRows& arm, const ArmRows& baseline, const ArmSummary& other, ArmSummary& summary) {
  if (!summary.accuracy) {
    summary.no_difference = summary.no_accuracy;
  } else if (!other.accuracy) {
    summary.no_difference = other.arm + ": " + other.no_accuracy;
  } else {
    std::vector<double> values, others;
    for (const StudyRow* row : arm.at(*arm.chosen)->rows) {
      for (const StudyRow* pair : baseline.at(*baseline.chosen)->rows) {
        if (row->seed != pair->seed) continue;
        values.push_back(row->test_accuracy);
        others.push_back(pair->test_accuracy);
      }
    }
    if (values.empty()) {
      summary.no_difference = "no seed in common yet";
    } else {
      summary.difference = paired_difference(values, others);
      summary.difference_provisional = summary.provisional || other.provisional;
    }
  }
}

ArmSummary summarize_arm(const StudyExperiment& experiment, const ArmRows& arm, double best) {
  ArmSummary summary{.arm = arm.plan->name, .chosen = arm.chosen, .baseline = arm.plan->baseline};
  const Judge judge(experiment);
  std::vector<double> seconds;
  for (const Tried& one : arm.tries) {
    summary.runs += one.rows.size();
    summary.diverged += one.diverged;
    for (const StudyRow* row : one.rows) {
      if (!row->diverged) seconds.push_back(row->seconds);
    }
    const double chance = 1 / static_cast<double>(one.rows.front()->classes);
    const double learned = chance + 0.5 * (best - chance);
    if (!std::isnan(judge.accuracy(&one)) && judge.worst(one) >= learned) {
      summary.largest_stable_rate = one.setting.learning_rate;  // ascending
    }
  }
  summary.seconds = median(std::move(seconds));
  add_accuracy(experiment, arm, summary);
  if (arm.chosen) summary.band = band_of(experiment, arm, best);
  return summary;
}

bool several_weight_decays(const StudyExperiment& experiment) {
  return std::ranges::any_of(experiment.trials, [&](const TrialSetting& setting) {
    return setting.weight_decay != experiment.trials.front().weight_decay;
  });
}

std::string rate_text(const std::optional<double>& rate) { return rate ? significant(*rate, 6) : ""; }

std::string seconds_text(double seconds) { return fixed(seconds, seconds < 10 ? 2 : seconds < 100 ? 1 : 0); }

// "≥ 1.5": nothing beyond the rates in the plan was tried.
std::string decades_text(const RateBand& band) {
  return (band.at_smallest || band.at_largest ? "≥ " : "") + fixed(band.decades(), 1);
}

std::string range_text(const RateBand& band) {
  const auto low = rate_text(band.low);
  return band.low == band.high ? low : low + "–" + rate_text(band.high);
}

}  // namespace

double RateBand::decades() const { return std::log10(high / low); }

std::optional<Tried> runs_that_count(const StudyExperiment& experiment, std::span<const StudyRow> rows,
                                     const std::string& arm) {
  const auto plan = std::ranges::find(experiment.arms, arm, &StudyArm::name);
  if (plan == experiment.arms.end()) return std::nullopt;
  const ArmRows all = rows_of(experiment, rows, *plan);
  return all.chosen ? std::optional(*all.at(*all.chosen)) : std::nullopt;
}

std::vector<ArmSummary> summarize(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  const auto arms = arms_of(experiment, rows);
  const double best = best_accuracy(Judge(experiment), arms);
  const auto go_on = finalists_of(experiment, arms);
  std::vector<ArmSummary> summaries;
  for (const ArmRows& arm : arms) {
    summaries.push_back(summarize_arm(experiment, arm, best));
    ArmSummary& summary = summaries.back();
    summary.planned = experiment.trials.size() * experiment.trial_seeds;
    const bool lost = experiment.trials.size() > 1 && !arm.chosen && !arm.trials_missing;
    if (go_on && std::ranges::find(*go_on, summary.arm) != go_on->end() && !lost) {
      summary.planned += experiment.seeds - std::min(experiment.seeds, experiment.trial_seeds);
    }
  }
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (summaries[i].baseline.empty()) continue;
    const auto baseline = std::ranges::find(summaries, summaries[i].baseline, &ArmSummary::arm);
    if (baseline == summaries.end()) {
      summaries[i].no_difference = summaries[i].baseline + ": no such arm";
    } else {
      compare(arms[i], arms[static_cast<std::size_t>(baseline - summaries.begin())], *baseline, summaries[i]);
    }
  }
  return summaries;
}

std::optional<std::vector<std::string>> finalists(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  return finalists_of(experiment, arms_of(experiment, rows));
}

std::string summary_csv(const Study& study, std::span<const StudyRow> rows) {
  std::string csv =
      "experiment,arm,baseline,runs,planned,diverged,lr,weight_decay,provisional,seeds,accuracy_mean,accuracy_ci95,"
      "difference_mean,difference_ci95,pairs,excludes_zero,band_low,band_high,band_decades,band_at_smallest,"
      "band_at_largest,largest_stable_lr,seconds\n";
  const auto number = [](const std::optional<double>& value) { return value ? significant(*value, 6) : ""; };
  const auto yes = [](bool value) { return std::string(value ? "true" : "false"); };
  for (const StudyExperiment& experiment : study.experiments) {
    for (const ArmSummary& arm : summarize(experiment, rows)) {
      const auto& chosen = arm.chosen;
      const auto& difference = arm.difference;
      const auto& band = arm.band;
      csv += text::csv_row({experiment.name,
                            arm.arm,
                            arm.baseline,
                            std::to_string(arm.runs),
                            std::to_string(arm.planned),
                            std::to_string(arm.diverged),
                            chosen ? page::exact(chosen->learning_rate) : "",
                            chosen ? page::exact(chosen->weight_decay) : "",
                            yes(arm.provisional),
                            std::to_string(arm.seeds),
                            number(arm.accuracy),
                            number(arm.accuracy_ci95),
                            difference ? number(difference->mean) : "",
                            difference ? number(difference->interval) : "",
                            difference ? std::to_string(difference->pairs) : "",
                            difference ? yes(difference->excludes_zero()) : "",
                            band ? page::exact(band->low) : "",
                            band ? page::exact(band->high) : "",
                            band ? number(band->decades()) : "",
                            band ? yes(band->at_smallest) : "",
                            band ? yes(band->at_largest) : "",
                            arm.largest_stable_rate ? page::exact(*arm.largest_stable_rate) : "",
                            number(arm.seconds)});
    }
  }
  return csv;
}

page::Table summary_rows(const StudyExperiment& experiment, std::span<const ArmSummary> arms) {
  page::Table table{{{"arm", true},
                     {"runs"},
                     {"diverged"},
                     {"rate"},
                     {"weight decay"},
                     {"accuracy, %"},
                     {"difference, points"},
                     {"pairs"},
                     {"against", true},
                     {"rates that work"},
                     {"decades"},
                     {"largest stable"},
                     {"s/run"}},
                    {}};
  const bool tuned = experiment.trials.size() > 1;
  const bool decays = several_weight_decays(experiment);
  std::set<std::size_t> pairs;  // a column only where they differ; the conclusion has them too
  for (const ArmSummary& arm : arms) {
    if (arm.difference) pairs.insert(arm.difference->pairs);
  }
  for (const ArmSummary& arm : arms) {
    const std::string of = arm.runs < arm.planned ? "/" + std::to_string(arm.planned) : "";
    const auto& band = arm.band;
    const bool shown = tuned && arm.chosen;
    Cell accuracy{.text = arm.no_accuracy, .css = "reason"};
    if (arm.accuracy) accuracy = {percent(arm.accuracy), percent(arm.accuracy_ci95)};
    Cell difference = difference_cell({arm.arm, arm.baseline, arm.difference, arm.no_difference});
    if (arm.difference_provisional) difference = {"(" + points(*arm.difference) + ")"};
    table.rows.push_back({{arm.arm},
                          {std::to_string(arm.runs) + of},
                          {.text = std::to_string(arm.diverged), .css = arm.diverged > 0 ? "bad" : ""},
                          {!shown            ? ""
                           : arm.provisional ? "(" + rate_text(arm.chosen->learning_rate) + ")"
                                             : rate_text(arm.chosen->learning_rate)},
                          {shown && decays ? rate_text(arm.chosen->weight_decay) : ""},
                          accuracy,
                          difference,
                          {arm.difference && pairs.size() > 1 ? std::to_string(arm.difference->pairs) : ""},
                          {arm.baseline},
                          {!shown ? ""
                           : band ? range_text(*band)
                                  : "none"},
                          {shown && band ? decades_text(*band) : ""},
                          {tuned ? rate_text(arm.largest_stable_rate) : ""},
                          {arm.seconds ? seconds_text(*arm.seconds) : ""}});
  }
  drop_empty_columns(table);
  return table;
}

std::string summary_note(const StudyExperiment& experiment) {
  std::string text =
      "Accuracy: on the test data after the last epoch, the mean over the seeds, ± the half width of its 95 % interval "
      "(Student’s t). Difference: in that accuracy, paired by seed; ▲ above and ▼ below the arm that it is against by "
      "more than the interval.";
  if (experiment.trials.size() > 1) {
    text += " Rate: of those tried, the one with the best mean validation accuracy over " +
            counted(experiment.trial_seeds, "seed") +
            "; both arms of a difference are at their own. In brackets: trials are missing that may change it. Rates "
            "that work: "
            "around it, with all tries completed and a "
            "mean accuracy of at most " +
            significant(100 * experiment.works_within, 3) +
            " points below the best of any arm; decades are their width, ≥ where they reach the end of what was "
            "tried. Largest stable: the largest rate at which all tries completed and came at least half the way from "
            "chance to the best.";
  }
  return text + " s/run: the median.";
}

std::string summary_table(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  return table_markdown(summary_rows(experiment, summarize(experiment, rows))) + "\n" + summary_note(experiment) + "\n";
}

std::string conclusion(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  const auto arms = summarize(experiment, rows);
  std::vector<Comparison> comparisons;
  std::size_t runs = 0, diverged = 0, provisional = 0;
  for (const ArmSummary& arm : arms) {
    if (arm.difference_provisional) {
      comparisons.push_back({arm.arm, arm.baseline, std::nullopt, "trials missing"});
    } else {
      comparisons.push_back({arm.arm, arm.baseline, arm.difference, arm.no_difference});
    }
    runs += arm.runs;
    diverged += arm.diverged;
    provisional += arm.provisional && arm.chosen;
  }
  const std::string planned = counted(experiment.planned_runs, "run");
  if (runs == 0) return "None of " + planned + " is in yet.";
  std::string text;
  if (runs < experiment.planned_runs) {
    text = "This is what " + std::to_string(runs) + " of " + planned + " show";
    if (provisional > 0) text += "; the setting of " + counted(provisional, "arm") + " may still change";
    text += ". ";
  }
  if (diverged > 0) {
    text += std::to_string(diverged) + " of " + counted(runs, "run") + " diverged. ";
  }
  return text + comparison_text(comparisons);
}

}  // namespace anact::report
