#include "report/study_page.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "page/chart.h"
#include "page/interval_chart.h"
#include "page/page.h"
#include "page/table.h"
#include "page/text.h"
#include "report/correlations.h"
#include "report/statistics.h"

namespace anact::report {
namespace {

using page::Cell;
using page::Chart;
using page::counted;
using page::element;
using page::enumerate;
using page::escape_html;
using page::fixed;
using page::Point;
using page::Series;
using page::significant;

constexpr std::size_t kLines = page::kSeriesColours;  // more in one chart could not be told apart

std::string of_planned(std::size_t runs, std::size_t planned) {
  return runs < planned ? std::to_string(runs) + " of " + counted(planned, "run") : counted(runs, "run");
}

struct Progress {
  std::size_t runs = 0, planned = 0, diverged = 0;

  [[nodiscard]] bool partial() const { return runs < planned; }
};

Progress progress_of(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  Progress progress{.planned = experiment.planned_runs};
  for (const StudyRow& row : rows) {
    if (row.experiment != experiment.name) continue;
    ++progress.runs;
    progress.diverged += row.diverged;
  }
  return progress;
}

Progress progress_of(const Study& study, std::span<const StudyRow> rows) {
  Progress all;
  for (const StudyExperiment& experiment : study.experiments) {
    const auto one = progress_of(experiment, rows);
    all.runs += one.runs;
    all.planned += one.planned;
    all.diverged += one.diverged;
  }
  return all;
}

// ---- which arms share a chart -------------------------------------------------------------------------------------

struct Facet {
  std::string heading;  // empty where it is the only one
  std::vector<const StudyArm*> arms;
};

// All arms in one, where there are few. Else those of an activation, in parts of even size where they are many; those
// that are alone of theirs stand together.
std::vector<Facet> facets_of(const StudyExperiment& experiment) {
  std::vector<Facet> families;
  for (const StudyArm& arm : experiment.arms) {
    auto family = experiment.arms.size() <= kLines ? families.begin()
                                                   : std::ranges::find(families, arm.activation, &Facet::heading);
    if (family == families.end()) family = families.insert(families.end(), {arm.activation, {}});
    family->arms.push_back(&arm);
  }
  if (families.size() < 2 && experiment.arms.size() <= kLines) {
    for (Facet& all : families) all.heading.clear();
    return families;
  }
  std::vector<Facet> facets;
  Facet alone;
  std::vector<std::string> names;
  for (Facet& family : families) {
    if (family.arms.size() > 1) {
      facets.push_back(std::move(family));
    } else {
      names.push_back(family.heading);
      alone.arms.push_back(family.arms.front());
    }
  }
  alone.heading = enumerate(names);
  if (!alone.arms.empty()) facets.push_back(std::move(alone));
  std::vector<Facet> parts;
  for (const Facet& facet : facets) {
    const std::size_t count = facet.arms.size(), pieces = (count + kLines - 1) / kLines;
    for (std::size_t i = 0; i < pieces; ++i) {
      const auto at = [&](std::size_t piece) {
        return facet.arms.begin() + static_cast<std::ptrdiff_t>(count * piece / pieces);
      };
      const std::string part = pieces == 1 ? "" : ", " + std::to_string(i + 1) + " of " + std::to_string(pieces);
      parts.push_back({facet.heading + part, {at(i), at(i + 1)}});
    }
  }
  return parts;
}

// By arm: the colour that it has in its facet.
std::map<std::string, std::size_t> styles_of(const std::vector<Facet>& facets) {
  std::map<std::string, std::size_t> styles;
  for (const Facet& facet : facets) {
    for (std::size_t i = 0; i < facet.arms.size(); ++i) styles[facet.arms[i]->name] = i;
  }
  return styles;
}

// A chart a facet, all on the same axes; none for a facet without anything to draw. `series` gives an arm's line.
template <class Get>
std::string facet_charts(const std::vector<Facet>& facets, const Chart& form, const std::string& caption,
                         const Get& series) {
  std::vector<std::pair<std::string, Chart>> charts;
  std::vector<Series> all;
  for (const Facet& facet : facets) {
    Chart chart = form;
    if (!facet.heading.empty()) chart.title += ": " + facet.heading;
    for (std::size_t i = 0; i < facet.arms.size(); ++i) {
      Series one = series(*facet.arms[i]);
      if (one.points.empty()) continue;
      one.name = facet.arms[i]->name;
      one.style = i;
      chart.series.push_back(std::move(one));
    }
    all.insert(all.end(), chart.series.begin(), chart.series.end());
    if (!chart.series.empty()) charts.emplace_back(facet.heading, std::move(chart));
  }
  if (charts.empty()) return "";
  std::string panels;
  for (auto& [heading, chart] : charts) {
    if (!chart.x_range) chart.x_range = x_extent(all, chart.log_x, chart.log_y);
    chart.y_range = y_extent(all, chart.log_y, chart.log_x);
    panels += page::panel(heading, legend_html(chart.series) + chart_html(chart));
  }
  return page::figure(caption, "", panels, charts.size() == 1);
}

// ---- charts -------------------------------------------------------------------------------------------------------

// The mean over some runs' values, and their range.
Point point_of(double x, const std::vector<double>& values, double scale) {
  Point point{.x = x, .y = scale * mean(values)};
  if (values.size() > 1) {
    const auto [low, high] = std::ranges::minmax(values);
    point.low = scale * low;
    point.high = scale * high;
  }
  return point;
}

bool has_validation(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  return std::ranges::any_of(rows, [&](const StudyRow& row) {
    return row.experiment == experiment.name && !std::isnan(row.validation_accuracy);
  });
}

std::vector<double> rates_of(const StudyExperiment& experiment) {
  std::set<double> rates;
  for (const TrialSetting& setting : experiment.trials) rates.insert(setting.learning_rate);
  return {rates.begin(), rates.end()};
}

std::string differences_html(const std::vector<ArmSummary>& arms, const std::map<std::string, std::size_t>& styles) {
  page::IntervalChart chart{.title = "Differences in test accuracy with their 95 % intervals, one line an arm",
                            .x_title = "difference in test accuracy, percentage points",
                            .groups = {}};
  for (const ArmSummary& arm : arms) {
    if (!arm.difference || !std::isfinite(arm.difference->mean)) continue;
    const std::string heading = "against " + arm.baseline;
    auto group = std::ranges::find(chart.groups, heading, &page::IntervalGroup::heading);
    if (group == chart.groups.end()) group = chart.groups.insert(group, {heading, {}});
    group->lines.push_back({.name = arm.arm,
                            .value = 100 * arm.difference->mean,
                            .half_width = 100 * arm.difference->interval.value_or(kUnknown),
                            .style = styles.at(arm.arm),
                            .open = arm.difference_provisional});
  }
  const std::string lines = interval_chart_html(chart);
  if (lines.empty()) return "";
  return page::part("Differences") +
         page::figure(
             "The difference in test accuracy after the last epoch, paired by seed, with its 95 % interval. Filled "
             "where the interval excludes zero and no trial is missing; without a line where there is a single pair.",
             "", lines, true);
}

// At the arm's chosen weight decay, or the first one.
Series rate_curve(const StudyExperiment& experiment, std::span<const StudyRow> rows, const ArmSummary& arm,
                  bool validation) {
  const double weight_decay = arm.chosen ? arm.chosen->weight_decay : experiment.trials.front().weight_decay;
  const auto tries = tried(rows, experiment.name, arm.arm);
  Series series;
  for (const double rate : rates_of(experiment)) {
    const auto found = std::ranges::find(tries, TrialSetting{rate, weight_decay}, &Tried::setting);
    if (found == tries.end()) continue;
    const auto at_trials = at_seeds(*found, experiment.first_seed, experiment.trial_seeds);
    if (found->diverged > 0) {
      if (!series.points.empty()) series.points.push_back({.x = rate, .y = kUnknown});
    } else if (!at_trials.rows.empty()) {
      std::vector<double> accuracies;
      for (const StudyRow* row : at_trials.rows) {
        accuracies.push_back(validation ? row->validation_accuracy : row->test_accuracy);
      }
      series.points.push_back(point_of(rate, accuracies, 100));
    }
  }
  // The band of a single seed among others is that seed.
  if (std::ranges::any_of(series.points, [](const Point& point) { return point.low.has_value(); })) {
    for (Point& point : series.points) {
      if (!point.low) point.low = point.high = point.y;
    }
  }
  while (!series.points.empty() && std::isnan(series.points.back().y)) {
    series.points.pop_back();
    series.broken_off = true;
  }
  return series;
}

std::string rates_html(const StudyExperiment& experiment, std::span<const StudyRow> rows,
                       const std::vector<ArmSummary>& arms, const std::vector<Facet>& facets) {
  if (experiment.trials.size() < 2) return "";
  const bool validation = has_validation(experiment, rows);
  const auto rates = rates_of(experiment);
  const std::string quantity = validation ? "validation accuracy" : "test accuracy";
  const Chart form{.title = "Mean " + quantity + " over the learning rate, one line an arm",
                   .x_title = "learning rate",
                   .y_title = quantity + ", %",
                   .log_x = true,
                   .x_range = std::pair(rates.front(), rates.back())};
  const std::string charts = facet_charts(
      facets, form,
      "Mean " + quantity +
          " after the last epoch over the learning rate, on the log scale; the band goes from the "
          "lowest seed to the highest.",
      [&](const StudyArm& arm) {
        return rate_curve(experiment, rows, *std::ranges::find(arms, arm.name, &ArmSummary::arm), validation);
      });
  if (charts.empty()) return "";
  return page::part("By learning rate") + charts +
         page::note(
             "A line ends, with a cross, or has a gap where a run diverged at the next rate. Where seeds are missing, "
             "it "
             "is of those that are in. An arm has no line where it diverged at every rate.");
}

// As far as all runs go: no line is carried on by the survivors.
Series epoch_curve(const std::optional<Tried>& runs, std::vector<double> StudyRow::*curve, double scale) {
  Series series;
  if (!runs) return series;
  std::size_t epochs = std::numeric_limits<std::size_t>::max();
  for (const StudyRow* row : runs->rows) epochs = std::min(epochs, (row->*curve).size());
  for (std::size_t i = 0; i < epochs; ++i) {
    std::vector<double> values;
    for (const StudyRow* row : runs->rows) values.push_back((row->*curve)[i]);
    series.points.push_back(point_of(static_cast<double>(i + 1), values, scale));
  }
  series.broken_off = runs->diverged > 0;
  return series;
}

std::string epochs_html(const StudyExperiment& experiment, std::span<const StudyRow> rows,
                        const std::vector<Facet>& facets) {
  std::map<std::string, std::optional<Tried>> runs;
  for (const StudyArm& arm : experiment.arms) runs[arm.name] = runs_that_count(experiment, rows, arm.name);
  const std::string where = experiment.trials.size() > 1 ? " at each arm’s chosen setting" : "";
  const std::string reading = ": the mean over the seeds, and a band from the lowest to the highest.";
  const std::string accuracy = facet_charts(
      facets,
      {.title = "Mean test accuracy after each epoch, one line an arm",
       .x_title = "epoch",
       .y_title = "test accuracy, %"},
      "Test accuracy after each epoch" + where + reading,
      [&](const StudyArm& arm) { return epoch_curve(runs.at(arm.name), &StudyRow::test_accuracies, 100); });
  const std::string loss =
      facet_charts(facets,
                   {.title = "Mean training loss in each epoch, one line an arm",
                    .x_title = "epoch",
                    .y_title = "training loss, nats (log scale)",
                    .log_y = true},
                   "Training loss, the mean of each epoch’s batches" + where + reading,
                   [&](const StudyArm& arm) { return epoch_curve(runs.at(arm.name), &StudyRow::train_losses, 1); });
  const std::string charts = accuracy + loss;
  if (charts.empty()) return "";
  const bool lost = std::ranges::any_of(runs, [](const auto& one) { return one.second && one.second->diverged > 0; });
  return page::part("By epoch") + charts +
         (lost ? page::note("A line ends, with a cross, where the first of its runs diverged.") : "");
}

// ---- tables -------------------------------------------------------------------------------------------------------

std::string setting_text(const TrialSetting& setting, bool several_decays) {
  return significant(setting.learning_rate, 6) +
         (several_decays ? ", decay " + significant(setting.weight_decay, 6) : "");
}

bool several_decays(const StudyExperiment& experiment) {
  std::set<double> decays;
  for (const TrialSetting& setting : experiment.trials) decays.insert(setting.weight_decay);
  return decays.size() > 1;
}

std::string trials_html(const StudyExperiment& experiment, std::span<const StudyRow> rows,
                        const std::vector<ArmSummary>& arms) {
  if (experiment.trials.size() < 2) return "";
  const bool validation = has_validation(experiment, rows);
  page::Table table{{{"arm", true}}, {}};
  for (const TrialSetting& setting : experiment.trials) {
    table.columns.push_back({setting_text(setting, several_decays(experiment))});
  }
  for (const ArmSummary& arm : arms) {
    const auto tries = tried(rows, experiment.name, arm.arm);
    std::vector<Cell> line = {{arm.arm}};
    for (const TrialSetting& setting : experiment.trials) {
      const auto found = std::ranges::find(tries, setting, &Tried::setting);
      Cell cell{""};
      if (found != tries.end()) {
        const auto at_trials = at_seeds(*found, experiment.first_seed, experiment.trial_seeds);
        const std::size_t count = found->rows.size(), seeds = at_trials.rows.size();
        const double value = validation ? at_trials.validation_accuracy() : at_trials.test_accuracy();
        if (found->diverged > 0) {
          cell = {.text = std::to_string(found->diverged) + " of " + std::to_string(count) + " diverged", .css = "bad"};
        } else if (!std::isnan(value)) {
          cell.text = fixed(100 * value, 2);
          if (seeds < experiment.trial_seeds) cell.text += " (" + counted(seeds, "seed") + ")";
        }
        if (arm.chosen == setting && cell.css.empty()) cell.css = "sure";
      }
      line.push_back(std::move(cell));
    }
    table.rows.push_back(std::move(line));
  }
  return "<details>\n<summary>Every trial</summary>\n" + table_html(table, "Every trial of " + experiment.title) +
         page::note("Mean " + std::string(validation ? "validation" : "test") +
                    " accuracy in percent after the last epoch over " + counted(experiment.trial_seeds, "seed") +
                    ", by learning rate. Bold: the chosen one.") +
         "</details>\n";
}

std::string arms_html(const StudyExperiment& experiment) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const StudyArm& arm : experiment.arms) fields.emplace_back(arm.name, arm.text);
  return "<details>\n<summary>Arms as the plan has them</summary>\n" + page::facts(fields) + "</details>\n";
}

std::string trials_text(const StudyExperiment& experiment) {
  std::set<double> rates, decays;
  for (const TrialSetting& setting : experiment.trials) {
    rates.insert(setting.learning_rate);
    decays.insert(setting.weight_decay);
  }
  const auto listed = [](const std::set<double>& values) {
    std::vector<std::string> texts;
    for (const double value : values) texts.push_back(significant(value, 6));
    return enumerate(texts);
  };
  std::string text = std::string(rates.size() == 1 ? "learning rate " : "learning rates ") + listed(rates);
  text += std::string(decays.size() == 1 ? "; weight decay " : "; weight decays ") + listed(decays);
  if (experiment.trials.size() == 1) return text + "; " + counted(experiment.seeds, "seed");
  text += "; each at " + counted(experiment.trial_seeds, "seed");
  if (experiment.seeds <= experiment.trial_seeds) return text;
  return text + ", then " +
         (experiment.finalists == 0
              ? std::string("every arm")
              : "the best " + counted(experiment.finalists, "arm") +
                    (experiment.keep.empty() ? " and their baselines"
                                             : ", their baselines and " + enumerate(experiment.keep))) +
         " at " + std::to_string(experiment.seeds);
}

std::string experiment_html(const StudyExperiment& experiment, std::span<const StudyRow> rows, std::size_t number) {
  const auto progress = progress_of(experiment, rows);
  auto fields = experiment.settings;
  fields.emplace_back("Trials", trials_text(experiment));
  fields.emplace_back("Runs",
                      of_planned(progress.runs, progress.planned) +
                          (progress.runs > 0 ? ", " + std::to_string(progress.diverged) + " of which diverged" : ""));
  std::string html = element("h2 id=\"experiment-" + std::to_string(number) + "\"", experiment.title) +
                     page::facts(fields) + element("p class=\"result\"", conclusion(experiment, rows));
  if (progress.runs == 0) return html + arms_html(experiment);
  const auto arms = summarize(experiment, rows);
  const auto facets = facets_of(experiment);
  const auto styles = styles_of(facets);
  page::Table table = summary_rows(experiment, arms);
  for (auto& line : table.rows) line.front().swatch = styles.at(line.front().text);
  html += page::part("All arms") + table_html(table, "All arms of " + experiment.title) +
          page::note(summary_note(experiment)) + differences_html(arms, styles) +
          rates_html(experiment, rows, arms, facets) + epochs_html(experiment, rows, facets);
  if (has_distances(experiment, rows)) html += correlations_html(experiment, rows);
  return html + "<div class=\"more\">\n" + trials_html(experiment, rows, arms) + arms_html(experiment) + "</div>\n";
}

std::string missing_html(const Study& study, std::span<const StudyRow> rows) {
  page::Table table{
      {{"experiment", true}, {"planned"}, {"in"}, {"missing"}, {"arms without a run"}, {"settings that may change"}},
      {}};
  for (const StudyExperiment& experiment : study.experiments) {
    const auto progress = progress_of(experiment, rows);
    if (!progress.partial()) continue;
    std::size_t none = 0, provisional = 0;
    for (const ArmSummary& arm : summarize(experiment, rows)) {
      none += arm.runs == 0;
      provisional += arm.provisional && arm.runs > 0;
    }
    table.rows.push_back({{experiment.title},
                          {std::to_string(progress.planned)},
                          {std::to_string(progress.runs)},
                          {std::to_string(progress.planned - progress.runs)},
                          {std::to_string(none)},
                          {std::to_string(provisional)}});
  }
  if (table.rows.empty()) return "";
  return element("h2", "What is missing") + table_html(table, "What is missing") +
         page::note(
             "Runs in the plan that have no row yet. A setting may change as long as trials of its arm are missing.");
}

std::string machines_html(const Study& study, std::span<const StudyRow> rows) {
  std::map<std::tuple<std::string, std::string, std::int64_t, std::string>, std::size_t> machines;
  for (const StudyRow& row : rows) {
    if (std::ranges::find(study.experiments, row.experiment, &StudyExperiment::name) == study.experiments.end())
      continue;
    ++machines[{row.processor, row.instruction_set, row.threads, row.version}];
  }
  if (machines.empty()) return "";
  page::Table table{{{"processor", true}, {"instruction set", true}, {"threads"}, {"version", true}, {"runs"}}, {}};
  for (const auto& [machine, runs] : machines) {
    const auto& [processor, instruction_set, threads, version] = machine;
    table.rows.push_back(
        {{processor}, {instruction_set}, {std::to_string(threads)}, {version}, {std::to_string(runs)}});
  }
  return element("h2", "Where the runs were made") + table_html(table, "Machines") +
         page::note("The same seed gives the same bits on the same machine; another one rounds differently.");
}

std::string contents_html(const Study& study, std::span<const StudyRow> rows) {
  if (study.experiments.size() < 2) return "";
  std::string html = "<ol class=\"contents\">\n";
  for (std::size_t i = 0; i < study.experiments.size(); ++i) {
    const auto progress = progress_of(study.experiments[i], rows);
    html += "<li><a href=\"#experiment-" + std::to_string(i + 1) + "\">" + escape_html(study.experiments[i].title) +
            "</a> <span class=\"pm\">" + escape_html(of_planned(progress.runs, progress.planned)) + "</span></li>\n";
  }
  return html + "</ol>\n";
}

}  // namespace

std::string study_html(const Study& study, std::span<const StudyRow> rows) {
  const auto progress = progress_of(study, rows);
  std::string html = "<header>\n<p class=\"kicker\">ANAct · study</p>\n" + element("h1", study.title) +
                     element("p", study.question) +
                     page::facts({{"Command", study.command},
                                  {"Runs", of_planned(progress.runs, progress.planned) + " of " +
                                               counted(study.experiments.size(), "experiment") + ", " +
                                               std::to_string(progress.diverged) + " of which diverged"}});
  if (progress.partial()) {
    html += "<div class=\"banner\" role=\"note\"><p><strong>This study is partial.</strong> " +
            escape_html(of_planned(progress.runs, progress.planned)) +
            (progress.runs == 1 ? " is in." : " are in. The figures below are of what there is.") + "</p></div>\n";
  }
  html += contents_html(study, rows) + "</header>\n<main>\n";
  for (std::size_t i = 0; i < study.experiments.size(); ++i) html += experiment_html(study.experiments[i], rows, i + 1);
  return page::document(study.title, html + missing_html(study, rows) + machines_html(study, rows) + "</main>\n");
}

}  // namespace anact::report
