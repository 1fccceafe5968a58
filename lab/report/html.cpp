#include "report/html.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "page/assets.h"
#include "page/chart.h"
#include "page/page.h"
#include "page/table.h"
#include "page/text.h"
#include "report/comparison.h"
#include "report/statistics.h"
#include "report/summary.h"

namespace anact::report {
namespace {

using Field = std::vector<double> Layers::*;

using page::Cell;
using page::Chart;
using page::chart_html;
using page::counted;
using page::element;
using page::enumerate;
using page::escape_html;
using page::facts;
using page::figure;
using page::fixed;
using page::legend_html;
using page::panel;
using page::percent;
using page::Point;
using page::Series;
using page::signed_fixed;
using page::y_extent;

std::string listed(const Fields& fields) {
  std::string text;
  for (auto [name, value] : fields) {
    std::replace(name.begin(), name.end(), '_', ' ');
    text += ", " + name + " " + value;
  }
  return text;
}

std::vector<std::string> diverged_arms(const Run& run) {
  std::vector<std::string> names;
  for (const Row& row : summarize(run)) {
    if (row.diverged > 0) {
      names.push_back(row.arm + " (" + std::to_string(row.diverged) + " of " + std::to_string(row.started) + ")");
    }
  }
  return names;
}

// ---- what the charts show -----------------------------------------------------------------------------------------

// The runs that a line may speak for: those that ended or, before any has, those under way.
std::vector<const Trial*> speaking(const Run& run, std::size_t arm) {
  std::vector<const Trial*> trials = run.trials_of(arm);
  const auto ended = [](const Trial* trial) { return trial->outcome != Outcome::unfinished; };
  if (std::any_of(trials.begin(), trials.end(), ended)) {
    std::erase_if(trials, [&](const Trial* trial) { return !ended(trial); });
  }
  return trials;
}

bool any_diverged(const std::vector<const Trial*>& trials) {
  return std::any_of(trials.begin(), trials.end(),
                     [](const Trial* trial) { return trial->outcome == Outcome::diverged; });
}

// The mean over the runs and their range, as far as all of them go: no line is carried on by the survivors.
Series curve(const Run& run, std::size_t arm, const std::function<std::optional<double>(const Epoch&)>& get) {
  const auto trials = speaking(run, arm);
  std::map<std::uint64_t, std::vector<double>> by_epoch;
  for (const Trial* trial : trials) {
    for (const Epoch& epoch : trial->epochs) {
      if (const auto value = get(epoch)) by_epoch[epoch.epoch].push_back(*value);
    }
  }
  Series series{run.arms[arm].name, {}, arm, false, any_diverged(trials)};
  for (const auto& [epoch, values] : by_epoch) {
    if (values.size() != trials.size()) continue;
    Point point{static_cast<double>(epoch), mean(values)};
    if (values.size() > 1) {
      point.low = *std::min_element(values.begin(), values.end());
      point.high = *std::max_element(values.begin(), values.end());
    }
    series.points.push_back(point);
  }
  return series;
}

std::vector<Series> curves(const Run& run, const std::function<std::optional<double>(const Epoch&)>& get) {
  std::vector<Series> all;
  for (std::size_t arm = 0; arm < run.arms.size(); ++arm) all.push_back(curve(run, arm, get));
  return all;
}

// Over the layers, the geometric mean of the runs: each layer as all of these snapshots have it.
std::vector<Point> profile(const std::vector<const Layers*>& snapshots, Field field) {
  std::vector<Point> points;
  if (snapshots.empty()) return points;
  std::size_t depth = (snapshots.front()->*field).size();
  for (const Layers* layers : snapshots) depth = std::min(depth, (layers->*field).size());
  for (std::size_t layer = 0; layer < depth; ++layer) {
    std::vector<double> values;
    for (const Layers* layers : snapshots) values.push_back((layers->*field)[layer]);
    points.push_back({static_cast<double>(layer + 1), geometric_mean(values)});
  }
  return points;
}

std::vector<Series> profiles_at_start(const Run& run, Field field) {
  std::vector<Series> all;
  for (std::size_t arm = 0; arm < run.arms.size(); ++arm) {
    std::vector<const Layers*> first;
    for (const Trial* trial : run.trials_of(arm)) {
      if (!trial->layers.empty() && trial->layers.front().epoch == 0) first.push_back(&trial->layers.front());
    }
    all.push_back({run.arms[arm].name, profile(first, field), arm});
  }
  return all;
}

// Only of arms whose runs all went to their end.
std::vector<Series> profiles_at_end(const Run& run, Field field) {
  std::vector<Series> all;
  for (std::size_t arm = 0; arm < run.arms.size(); ++arm) {
    const auto trials = run.trials_of(arm);
    std::vector<const Layers*> last;
    for (const Trial* trial : trials) {
      if (trial->outcome == Outcome::completed && !trial->layers.empty()) last.push_back(&trial->layers.back());
    }
    if (any_diverged(trials)) last.clear();
    all.push_back({run.arms[arm].name, profile(last, field), arm});
  }
  return all;
}

// λ of one arm at a few epochs, evenly chosen, the first and the last among them.
std::vector<Series> lambda_profiles(const Run& run, std::size_t arm) {
  const auto trials = speaking(run, arm);
  std::map<std::uint64_t, std::vector<const Layers*>> by_epoch;
  for (const Trial* trial : trials) {
    for (const Layers& layers : trial->layers) {
      if (!layers.lambda.empty()) by_epoch[layers.epoch].push_back(&layers);
    }
  }
  std::erase_if(by_epoch, [&](const auto& entry) { return entry.second.size() != trials.size(); });
  std::vector<Series> all;
  const auto chosen = page::spread_indices(by_epoch.size(), page::kShades);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto& [epoch, snapshots] = *std::next(by_epoch.begin(), static_cast<std::ptrdiff_t>(chosen[i]));
    const std::size_t shade = chosen.size() == 1 ? page::kShades - 1 : i * (page::kShades - 1) / (chosen.size() - 1);
    all.push_back({"epoch " + std::to_string(epoch), profile(snapshots, &Layers::lambda), shade, true});
  }
  return all;
}

// ---- the page's parts ---------------------------------------------------------------------------------------------

std::string seeds_phrase(const Run& run) {
  return run.seeds.size() == 1 ? "one seed" : "mean and range of " + std::to_string(run.seeds.size()) + " seeds";
}

std::string curve_note(const Run& run) {
  std::string note;
  if (run.seeds.size() > 1) {
    note = "The line is the mean over the seeds, the band goes from the lowest seed to the highest.";
  }
  if (!diverged_arms(run).empty()) note += " A line ends, with a cross, where the first of its runs diverged.";
  if (run.partial) note += " Runs that have not ended are left out of an arm that has others.";
  return note.empty() ? "" : page::note(note);
}

std::string accuracy_html(const Run& run) {
  Chart chart;
  chart.title = "Test accuracy after each epoch, one line an arm: " + seeds_phrase(run);
  chart.x_title = "epoch";
  chart.y_title = "test accuracy, %";
  chart.series = curves(run, [](const Epoch& epoch) { return std::optional(100 * epoch.test_accuracy); });
  Chart top5 = chart;
  top5.title = "Label among the five largest outputs after each epoch, one line an arm: " + seeds_phrase(run);
  top5.y_title = "top-5 accuracy, %";
  top5.series = curves(
      run, [](const Epoch& epoch) { return epoch.test_top5 ? std::optional(100 * *epoch.test_top5) : std::nullopt; });
  const bool has_top5 = std::ranges::any_of(top5.series, [](const Series& series) { return !series.points.empty(); });
  const std::string panels = has_top5 ? panel("Accuracy", chart_html(chart)) + panel("Top-5 accuracy", chart_html(top5))
                                      : panel("", chart_html(chart));
  return "<h2>Test accuracy by epoch</h2>\n" + figure(chart.title + ".", legend_html(chart.series), panels, !has_top5) +
         curve_note(run);
}

std::string loss_html(const Run& run) {
  Chart test;
  test.title = "Test loss after each epoch, one line an arm: " + seeds_phrase(run);
  test.x_title = "epoch";
  test.y_title = "loss, nats (log scale)";
  test.log_y = true;
  test.series = curves(run, [](const Epoch& epoch) { return std::optional(epoch.test_loss); });
  Chart train = test;
  train.title = "Training loss in each epoch, one line an arm: " + seeds_phrase(run);
  train.series = curves(run, [](const Epoch& epoch) { return epoch.train_loss; });
  std::vector<Series> both = test.series;
  both.insert(both.end(), train.series.begin(), train.series.end());
  test.y_range = train.y_range = y_extent(both, true);
  return "<h2>Loss by epoch</h2>\n" +
         figure("Loss on the test data and on the training batches, one line an arm: " + seeds_phrase(run) + ".",
                legend_html(test.series),
                panel("Test loss, after the epoch", chart_html(test)) +
                    panel("Training loss, mean of the epoch", chart_html(train)),
                false) +
         curve_note(run);
}

std::string profiles_html(const Run& run, Field field, const std::string& heading, const std::string& quantity,
                          const std::string& reading) {
  Chart start;
  start.title = quantity + " at each layer before the first step, one line an arm";
  start.x_title = "layer";
  start.y_title = quantity + " (log scale)";
  start.log_y = true;
  start.series = profiles_at_start(run, field);
  Chart end = start;
  end.title = quantity + " at each layer after the last epoch, one line an arm";
  end.series = profiles_at_end(run, field);
  std::vector<Series> both = start.series;
  both.insert(both.end(), end.series.begin(), end.series.end());
  start.y_range = end.y_range = y_extent(both, true);
  std::string html =
      element("h2", heading) + element("p", reading) +
      figure(quantity + " at each layer, before and after training: geometric mean of the seeds.",
             legend_html(start.series),
             panel("Before the first step", chart_html(start)) + panel("After the last epoch", chart_html(end)), false);
  if (const auto diverged = diverged_arms(run); !diverged.empty()) {
    html += page::note("Left out after the last epoch, since runs diverged: " + enumerate(diverged) + ".");
  }
  return html;
}

std::string lambda_html(const Run& run) {
  std::vector<std::pair<std::string, std::vector<Series>>> arms;
  std::vector<Series> all, legend;
  for (std::size_t arm = 0; arm < run.arms.size(); ++arm) {
    auto series = lambda_profiles(run, arm);
    if (series.empty()) continue;
    all.insert(all.end(), series.begin(), series.end());
    if (series.size() > legend.size()) legend = series;
    arms.emplace_back(run.arms[arm].name, std::move(series));
  }
  if (arms.empty()) return "";
  std::string panels;
  for (auto& [name, series] : arms) {
    Chart chart;
    chart.title = "λ of " + name + " at each layer, one line an epoch, from light to dark";
    chart.x_title = "layer";
    chart.y_title = "λ";
    chart.y_range = y_extent(all, false);
    chart.series = std::move(series);
    panels += panel(name, chart_html(chart));
  }
  return "<h2>The factor λ through training</h2>\n<p>λ is what ANAct multiplies the activation by, layer by layer. A "
         "line that moves from epoch to epoch is a correction that a factor fixed at the start would have "
         "missed.</p>\n" +
         figure("λ at each layer, one line an epoch: geometric mean of the seeds, the same scale for every arm.",
                legend_html(legend), panels, arms.size() == 1);
}

std::string started(const Run& run) {
  for (const auto& [name, value] : run.environment) {
    if (name == "started") return value;
  }
  return "";
}

std::string header_html(const Run& run) {
  std::vector<std::string> names, seeds;
  for (const Arm& arm : run.arms) names.push_back(arm.name);
  for (const std::uint64_t seed : run.seeds) seeds.push_back(std::to_string(seed));
  Fields fields = {{"Data", run.data_name},
                   {"Model", run.model_name + listed(run.model)},
                   {"Arms", enumerate(names)},
                   {"Seeds", enumerate(seeds)},
                   {"Training", listed(run.training)}};
  Fields shown = run.data;
  std::erase_if(shown, [](const auto& field) { return field.first == "crc32"; });
  fields[0].second += listed(shown);
  if (fields[4].second.starts_with(", ")) fields[4].second.erase(0, 2);
  if (!started(run).empty()) {
    fields.emplace_back("Started", started(run) + ", took " + page::significant(run.seconds, 3) + " s");
  }
  std::string html = "<header>\n<p class=\"kicker\">ANAct · comparison of activations</p>\n" +
                     element("h1", counted(run.arms.size(), "arm") + " compared on " + run.data_name + ", " +
                                       run.model_name + " model, " + counted(run.seeds.size(), "seed")) +
                     facts(fields);
  if (run.partial) {
    const std::string text = std::to_string(run.ended()) + " of " + std::to_string(run.planned()) + " runs have ended" +
                             (run.reason.empty() ? "" : ": " + run.reason) + ".";
    html += "<div class=\"banner\" role=\"note\"><p><strong>This run is partial.</strong> " + escape_html(text) +
            " The figures below are of what there is.</p></div>\n";
  }
  if (const auto diverged = diverged_arms(run); !diverged.empty()) {
    html += "<div class=\"banner bad\" role=\"note\"><p><strong>Runs diverged.</strong> " +
            escape_html(enumerate(diverged)) +
            ": no mean is given for these arms, since one over the surviving runs would hide it.</p></div>\n";
  }
  return html + "</header>\n";
}

std::string arms_html(const Run& run) {
  page::Table table{{{"Arm", true},
                     {"Seeds"},
                     {"Accuracy, %"},
                     {"Best, %"},
                     {"Top 5, %"},
                     {"Test loss"},
                     {"Difference, points"},
                     {"Baseline", true},
                     {"Diverged"},
                     {"s/epoch"}},
                    {}};
  const auto rows = summarize(run);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const std::string planned =
        row.completed < run.seeds.size() ? " of " + std::to_string(run.seeds.size()) : std::string();
    table.rows.push_back({{.text = row.arm, .swatch = i},
                          {std::to_string(row.completed) + planned},
                          {percent(row.accuracy), percent(row.accuracy_ci95)},
                          {percent(row.best_accuracy)},
                          {percent(row.top5)},
                          {row.loss ? fixed(*row.loss, 4) : ""},
                          difference_cell({row.arm, row.baseline, row.difference, row.no_difference}),
                          {row.baseline},
                          {.text = std::to_string(row.diverged), .css = row.diverged > 0 ? "bad" : ""},
                          {row.seconds_per_epoch ? fixed(*row.seconds_per_epoch, 3) : ""}});
  }
  return "<h2>All arms</h2>\n" + table_html(table, "All arms") +
         page::note(
             "Seeds: runs that completed. Accuracy: on the test data after the last epoch, ± the half width of its "
             "95 % interval (Student’s t over the seeds). Best: the mean of each seed’s best epoch, chosen on " +
             std::string(has_validation(run) ? "the validation data. " : "the test data, so it flatters. ") +
             "Top 5: the label is among the five largest outputs, after the last epoch. "
             "Difference: in accuracy to the baseline, paired by seed; ▲ above and ▼ below it by "
             "more than the 95 % interval. s/epoch: the median, training only.");
}

const char* outcome_text(Outcome outcome) {
  switch (outcome) {
    case Outcome::unfinished:
      return "not ended";
    case Outcome::completed:
      return "completed";
    case Outcome::diverged:
      return "diverged";
  }
  return "";
}

std::string metric_text(const io::Metric& metric, const Epoch& epoch) {
  const auto value = metric.of(epoch);
  if (!value) return "";
  switch (metric.unit) {
    case io::Unit::rate:
      return page::significant(*value, 6);
    case io::Unit::nats:
      return fixed(*value, 4);
    case io::Unit::fraction:
      return percent(value);
    case io::Unit::seconds:
      return fixed(*value, 3);
  }
  return "";
}

// A training without validation images has no columns for them.
bool is_measured(const Run& run, const io::Metric& metric) {
  return std::ranges::any_of(run.trials, [&](const Trial& trial) {
    return std::ranges::any_of(trial.epochs, [&](const Epoch& epoch) { return metric.of(epoch).has_value(); });
  });
}

std::string seeds_html(const Run& run) {
  page::Table table{{{"Arm", true}, {"Seed"}, {"Outcome", true}, {"Last epoch"}, {"Best, %"}}, {}};
  std::vector<io::Metric> metrics;
  std::ranges::copy_if(io::kMetrics, std::back_inserter(metrics),
                       [&](const io::Metric& metric) { return is_measured(run, metric); });
  for (const auto& metric : metrics) {
    table.columns.push_back({std::string(metric.title) + (metric.unit == io::Unit::fraction ? ", %" : "")});
  }
  table.columns.push_back({"Batches refused"});
  for (const Trial& trial : run.trials) {
    std::string outcome = outcome_text(trial.outcome);
    if (!trial.divergence.empty()) outcome += " (" + trial.divergence + ")";
    std::vector<Cell> row = {{run.arms[trial.arm].name}, {std::to_string(trial.seed)}, {outcome}};
    if (trial.epochs.empty()) {
      row.resize(table.columns.size() - 1);
    } else {
      const Epoch& last = trial.epochs.back();
      row.push_back({std::to_string(last.epoch)});
      row.push_back({percent(best_accuracy(trial))});
      for (const auto& metric : metrics) row.push_back({metric_text(metric, last)});
    }
    row.push_back({std::to_string(trial.skipped_batches)});
    table.rows.push_back(std::move(row));
  }
  return "<details>\n<summary>Every run</summary>\n" + table_html(table, "Every run") +
         page::note("As the last epoch has it. Best: the test accuracy of the best epoch, chosen on the " +
                    std::string(has_validation(run) ? "validation" : "test") +
                    " data. Seconds: training only; waited: of "
                    "these, for data.") +
         "</details>\n";
}

std::string shell_quoted(const std::string& word) {
  const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string command_line(const Run& run) {
  std::vector<std::string> words = run.arguments;
  if (words.empty() && !run.preset.empty()) words = {"compare", "--preset", run.preset};
  std::string line;
  for (const std::string& word : words) line += " " + shell_quoted(word);
  return line.empty() ? "" : "anact" + line;
}

std::string details_html(const Run& run) {
  std::string html = "<h2>Details</h2>\n" + seeds_html(run);
  html += "<details>\n<summary>Arms</summary>\n";
  for (const Arm& arm : run.arms) html += element("h3", arm.name) + facts(arm.settings);
  html += "</details>\n<details>\n<summary>Configuration</summary>\n" + element("pre", run.configuration) +
          "</details>\n<details>\n<summary>Environment</summary>\n" + facts(run.environment) + "</details>\n";
  if (const std::string command = command_line(run); !command.empty()) {
    html += "<details>\n<summary>How to repeat it</summary>\n" + element("pre", command) +
            "<p>The same seeds with the same versions on the same machine give the same figures, "
            "but for the times.</p>\n</details>\n";
  }
  return html;
}

}  // namespace

std::string report_html(const Run& run) {
  const std::string title =
      "ANAct: " + counted(run.arms.size(), "arm") + " on " + run.data_name + ", " + counted(run.seeds.size(), "seed");
  std::string html = header_html(run) + "<main>\n<h2>Result</h2>\n" + element("p", conclusion(run)) + arms_html(run) +
                     accuracy_html(run) + loss_html(run);
  html += profiles_html(
      run, &Layers::gradient_variance, "How the gradient passes through the layers", "Variance of the gradient",
      "A flat line means that the gradient keeps its variance from layer to layer, which is the "
      "normalization property. A line that falls towards the first layer is a gradient that vanishes on "
      "its way back, one that rises is a gradient that explodes.");
  html +=
      profiles_html(run, &Layers::activation_second_moment, "How the signal passes through the layers",
                    "Second moment of the activations",
                    "A flat line means that the activations keep their size from layer to layer, which is the "
                    "normalization property going forward. A line that falls towards the last layer is a signal that "
                    "dies out, one that rises is a signal that grows without bound.");
  return page::document(title, html + lambda_html(run) + details_html(run) + "</main>\n", page::kScript);
}

}  // namespace anact::report
