#include "report/html.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "report/chart.h"
#include "report/html_assets.h"
#include "report/statistics.h"
#include "report/summary.h"
#include "report/text.h"

namespace anact::report {
namespace {

using Field = std::vector<double> Layers::*;

const std::string kNone = "<span class=\"pm\">–</span>";

std::string element(const std::string& tag, const std::string& text) {
  return "<" + tag + ">" + escape_html(text) + "</" + tag.substr(0, tag.find(' ')) + ">\n";
}

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

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
  const std::size_t count = std::min(by_epoch.size(), kShades);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t chosen =
        count == 1 ? 0 : (2 * i * (by_epoch.size() - 1) + (count - 1)) / (2 * (count - 1));  // rounded
    const auto& [epoch, snapshots] = *std::next(by_epoch.begin(), static_cast<std::ptrdiff_t>(chosen));
    const std::size_t shade = count == 1 ? kShades - 1 : i * (kShades - 1) / (count - 1);
    all.push_back({"epoch " + std::to_string(epoch), profile(snapshots, &Layers::lambda), shade, true});
  }
  return all;
}

// ---- the page's parts ---------------------------------------------------------------------------------------------

std::string panel(const std::string& heading, const Chart& chart) {
  return "<div class=\"panel\">\n" + (heading.empty() ? "" : element("h3", heading)) + chart_html(chart) + "</div>\n";
}

std::string figure(const std::string& caption, const std::vector<Series>& legend, const std::string& panels, bool one) {
  return "<figure>\n" + element("figcaption", caption) + legend_html(legend) + "<div class=\"panels" +
         (one ? " one" : "") + "\">\n" + panels + "</div>\n</figure>\n";
}

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
  return note.empty() ? "" : "<p class=\"note\">" + escape_html(note) + "</p>\n";
}

std::string accuracy_html(const Run& run) {
  Chart chart;
  chart.title = "Test accuracy after each epoch, one line an arm: " + seeds_phrase(run);
  chart.x_title = "epoch";
  chart.y_title = "test accuracy, %";
  chart.series = curves(run, [](const Epoch& epoch) { return std::optional(100 * epoch.test_accuracy); });
  return "<h2>Test accuracy by epoch</h2>\n" + figure(chart.title + ".", chart.series, panel("", chart), true) +
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
                test.series,
                panel("Test loss, after the epoch", test) + panel("Training loss, mean of the epoch", train), false) +
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
      "<h2>" + escape_html(heading) + "</h2>\n<p>" + escape_html(reading) + "</p>\n" +
      figure(quantity + " at each layer, before and after training: geometric mean of the seeds.", start.series,
             panel("Before the first step", start) + panel("After the last epoch", end), false);
  if (const auto diverged = diverged_arms(run); !diverged.empty()) {
    html += "<p class=\"note\">" +
            escape_html("Left out after the last epoch, since runs diverged: " + enumerate(diverged) + ".") + "</p>\n";
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
    panels += panel(name, chart);
  }
  return "<h2>The factor λ through training</h2>\n<p>λ is what ANAct multiplies the activation by, layer by layer. A "
         "line that moves from epoch to epoch is a correction that a factor fixed at the start would have "
         "missed.</p>\n" +
         figure("λ at each layer, one line an epoch: geometric mean of the seeds, the same scale for every arm.",
                legend, panels, arms.size() == 1);
}

std::string facts(const Fields& fields) {
  std::string html = "<dl class=\"facts\">\n";
  for (const auto& [name, value] : fields) html += element("dt", name) + element("dd", value);
  return html + "</dl>\n";
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
  std::erase_if(shown, [](const auto& field) { return field.first == "sha256"; });
  fields[0].second += listed(shown);
  if (fields[4].second.starts_with(", ")) fields[4].second.erase(0, 2);
  if (!started(run).empty()) {
    fields.emplace_back("Started", started(run) + ", took " + significant(run.seconds, 3) + " s");
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

std::string plus_minus(const std::string& value, const std::optional<double>& interval, int decimals) {
  return value + (interval ? " <span class=\"pm\">± " + fixed(*interval, decimals) + "</span>" : "");
}

std::optional<double> percent(const std::optional<double>& fraction) {
  return fraction ? std::optional(100 * *fraction) : std::nullopt;
}

std::string difference_cell(const Row& row) {
  if (row.baseline.empty()) return "<td>" + kNone + "</td>";
  if (!row.difference) return "<td class=\"reason\">" + escape_html(row.no_difference) + "</td>";
  const Difference& difference = *row.difference;
  const char* mark = !difference.excludes_zero() ? "" : difference.mean > 0 ? "▲ " : "▼ ";
  return std::string("<td") + (*mark != '\0' ? " class=\"sure\"" : "") + ">" + mark +
         plus_minus(signed_fixed(100 * difference.mean, 2), percent(difference.interval), 2) + "</td>";
}

std::string table_html(const Run& run) {
  std::string html =
      "<h2>All arms</h2>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"All arms\">\n<table>\n"
      "<thead><tr><th class=\"left\" scope=\"col\">Arm</th><th scope=\"col\">Seeds</th>"
      "<th scope=\"col\">Accuracy, %</th><th scope=\"col\">Best, %</th><th scope=\"col\">Test loss</th>"
      "<th scope=\"col\">Difference, points</th><th class=\"left\" scope=\"col\">Baseline</th>"
      "<th scope=\"col\">Diverged</th><th scope=\"col\">s/epoch</th></tr></thead>\n<tbody>\n";
  const auto rows = summarize(run);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    html += "<tr><th scope=\"row\"><span class=\"swatch series-" + std::to_string(i % kSeriesColours) + "\"></span>" +
            escape_html(row.arm) + "</th><td>" + std::to_string(row.completed) +
            (row.completed < run.seeds.size() ? " of " + std::to_string(run.seeds.size()) : "") + "</td><td>" +
            (row.accuracy ? plus_minus(fixed(100 * *row.accuracy, 2), percent(row.accuracy_ci95), 2) : kNone) +
            "</td><td>" + (row.best_accuracy ? fixed(100 * *row.best_accuracy, 2) : kNone) + "</td><td>" +
            (row.loss ? fixed(*row.loss, 4) : kNone) + "</td>" + difference_cell(row) + "<td class=\"left\">" +
            (row.baseline.empty() ? kNone : escape_html(row.baseline)) + "</td><td" +
            (row.diverged > 0 ? " class=\"bad\"" : "") + ">" + std::to_string(row.diverged) + "</td><td>" +
            (row.seconds_per_epoch ? fixed(*row.seconds_per_epoch, 3) : kNone) + "</td></tr>\n";
  }
  return html +
         "</tbody>\n</table>\n</div>\n<p class=\"note\">Seeds: runs that completed. Accuracy: on the test data after "
         "the "
         "last epoch, ± the half width of its 95 % interval (Student’s t over the seeds). Best: the mean of each "
         "seed’s "
         "best epoch, chosen on the test data, so it flatters. Difference: in accuracy to the baseline, paired by "
         "seed; "
         "▲ above and ▼ below it by more than the 95 % interval. s/epoch: the median, training only.</p>\n";
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

std::string seeds_html(const Run& run) {
  std::string html =
      "<details>\n<summary>Every run</summary>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
      "aria-label=\"Every run\">\n<table>\n<thead><tr><th class=\"left\" scope=\"col\">Arm</th>"
      "<th scope=\"col\">Seed</th><th class=\"left\" scope=\"col\">Outcome</th><th scope=\"col\">Last epoch</th>"
      "<th scope=\"col\">Accuracy, %</th><th scope=\"col\">Best, %</th><th scope=\"col\">Test loss</th>"
      "<th scope=\"col\">Training loss</th><th scope=\"col\">Batches refused</th></tr></thead>\n<tbody>\n";
  for (const Trial& trial : run.trials) {
    html += "<tr><th scope=\"row\">" + escape_html(run.arms[trial.arm].name) + "</th><td>" +
            std::to_string(trial.seed) + "</td><td class=\"left\">" + outcome_text(trial.outcome);
    if (!trial.divergence.empty()) html += " (" + escape_html(trial.divergence) + ")";
    html += "</td>";
    if (trial.epochs.empty()) {
      for (int i = 0; i < 5; ++i) html += "<td>" + kNone + "</td>";
    } else {
      const Epoch& last = trial.epochs.back();
      double best = last.test_accuracy;
      for (const Epoch& epoch : trial.epochs) best = std::max(best, epoch.test_accuracy);
      html += "<td>" + std::to_string(last.epoch) + "</td><td>" + fixed(100 * last.test_accuracy, 2) + "</td><td>" +
              fixed(100 * best, 2) + "</td><td>" + fixed(last.test_loss, 4) + "</td><td>" +
              (last.train_loss ? fixed(*last.train_loss, 4) : kNone) + "</td>";
    }
    html += "<td>" + std::to_string(trial.skipped_batches) + "</td></tr>\n";
  }
  return html + "</tbody>\n</table>\n</div>\n</details>\n";
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
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
      element("title", title) + "<style>" + std::string(kStyle) + "</style>\n</head>\n<body>\n";
  html += header_html(run) + "<main>\n<h2>Result</h2>\n" + element("p", conclusion(run)) + table_html(run) +
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
  return html + lambda_html(run) + details_html(run) + "</main>\n<script>" + std::string(kScript) +
         "</script>\n</body>\n</html>\n";
}

}  // namespace anact::report
