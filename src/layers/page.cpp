#include "layers/page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "layers/table.h"
#include "page/chart.h"
#include "page/heat_map.h"
#include "page/page.h"
#include "page/text.h"

namespace anact::layers {
namespace {

using page::Chart;
using page::counted;
using page::element;
using page::Point;
using page::Series;
using page::significant;
using page::Stroke;

using Layers = std::vector<LayerRecord>;  // of one step, by layer
using Steps = std::map<std::int64_t, Layers>;
using Get = double (*)(const LayerRecord&);

constexpr std::size_t kColumns = 60;      // of a heat map
constexpr std::size_t kLinePoints = 200;  // of lambda's lines
constexpr double kFarOff = 2;             // the factor from which a prediction counts as off

Steps by_step(std::span<const LayerRecord> records) {
  Steps steps;
  for (const LayerRecord& record : records) steps[record.step].push_back(record);
  for (auto& [step, layers] : steps) std::ranges::stable_sort(layers, {}, &LayerRecord::layer);
  return steps;
}

bool is_weighted(const LayerRecord& record) {
  return record.kind == LayerKind::linear || record.kind == LayerKind::convolution;
}

bool is_activation(const LayerRecord& record) { return record.kind == LayerKind::activation; }

std::string described(const LayerRecord& record) {
  return record.activation.empty() || record.activation == record.name ? record.name
                                                                       : record.name + " (" + record.activation + ")";
}

// ---- profiles over the layers -------------------------------------------------------------------------------------

// What is plotted over the layers: the weighted ones, with the activations that follow each in its label. A network
// without any is plotted whole.
struct Shown {
  const LayerRecord* record;
  std::string label;
};

std::vector<Shown> shown_layers(const Layers& layers) {
  const bool any_weighted = std::ranges::any_of(layers, is_weighted);
  std::vector<Shown> shown;
  for (const LayerRecord& record : layers) {
    if (is_weighted(record) || !any_weighted) {
      shown.push_back({&record, described(record)});
    } else if (is_activation(record) && !shown.empty()) {
      shown.back().label += ", then " + described(record);
    }
  }
  return shown;
}

// Without what was not measured at either end, which leaves no gap.
Series profile(const std::string& name, const Layers& layers, Get get, std::size_t style, Stroke stroke) {
  Series series{.name = name, .style = style, .stroke = stroke};
  for (const auto& [record, label] : shown_layers(layers)) {
    const double value = get(*record);
    if (std::isnan(value) && series.points.empty()) continue;
    series.points.push_back({.x = static_cast<double>(record->layer), .y = value, .label = label});
  }
  while (!series.points.empty() && std::isnan(series.points.back().y)) series.points.pop_back();
  return series;
}

struct Quantity {
  std::string name;
  Get measured, predicted, gaussian;
};

std::vector<Series> profiles(const Quantity& quantity, const Layers& layers) {
  return {profile("theory, with the measured gains", layers, quantity.predicted, 1, Stroke::solid),
          profile("theory, with normally distributed inputs", layers, quantity.gaussian, 2, Stroke::dashed),
          profile("measured", layers, quantity.measured, 0, Stroke::markers)};
}

std::string step_name(std::int64_t step) {
  return step == 0 ? "Step 0, before the first update" : "Step " + std::to_string(step);
}

std::string profiles_html(const Quantity& quantity, const Steps& steps, const std::string& heading,
                          const std::string& reading) {
  std::vector<std::pair<std::int64_t, std::vector<Series>>> panels;
  panels.emplace_back(steps.begin()->first, profiles(quantity, steps.begin()->second));
  if (steps.size() > 1) panels.emplace_back(steps.rbegin()->first, profiles(quantity, steps.rbegin()->second));
  std::vector<Series> all;
  for (const auto& [step, series] : panels) all.insert(all.end(), series.begin(), series.end());
  std::vector<Series> legend;
  for (std::size_t i = 0; i < panels.front().second.size(); ++i) {
    const auto drawn = [&](const auto& panel) { return !panel.second[i].points.empty(); };
    if (std::ranges::any_of(panels, drawn)) legend.push_back(panels.front().second[i]);
  }
  std::string html;
  for (auto& [step, series] : panels) {
    const Chart chart{
        .title = quantity.name + " at each layer, step " + std::to_string(step) + ": measured and as the theory has it",
        .x_title = "layer",
        .y_title = quantity.name + " (log scale)",
        .log_y = true,
        .y_range = y_extent(all, true),
        .series = std::move(series)};
    html += page::panel(step_name(step), chart_html(chart));
  }
  return element("h2", heading) + element("p", reading) +
         page::figure(quantity.name +
                          " at each layer that has weights; in a point’s tooltip the layer and the "
                          "activations that follow it.",
                      legend_html(legend), html, panels.size() == 1);
}

// ---- through training ---------------------------------------------------------------------------------------------

std::vector<std::int64_t> chosen_steps(const Steps& steps, std::size_t count) {
  std::vector<std::int64_t> all, chosen;
  for (const auto& [step, layers] : steps) all.push_back(step);
  for (const std::size_t i : page::spread_indices(all.size(), count)) chosen.push_back(all[i]);
  return chosen;
}

page::HeatMap heat_map(const Steps& steps, const std::string& quantity, Get get) {
  page::HeatMap map{
      .title = quantity + " of each activation through training", .x_title = "training step", .y_title = "layer"};
  std::map<std::int64_t, std::size_t> rows;  // by layer
  for (const auto& [step, layers] : steps) {
    for (const LayerRecord& record : layers) {
      if (is_activation(record)) rows.emplace(record.layer, 0);
    }
  }
  for (auto& [layer, row] : rows) {
    row = map.rows.size();
    map.rows.push_back(std::to_string(layer));
  }
  map.row_names.resize(rows.size());
  const auto chosen = chosen_steps(steps, kColumns);
  map.values.assign(rows.size() * chosen.size(), kNotMeasured);
  for (std::size_t column = 0; column < chosen.size(); ++column) {
    map.columns.push_back(std::to_string(chosen[column]));
    for (const LayerRecord& record : steps.at(chosen[column])) {
      if (!is_activation(record)) continue;
      const std::size_t row = rows.at(record.layer);
      map.row_names[row] = described(record) + ", layer " + std::to_string(record.layer);
      map.values[row * chosen.size() + column] = get(record);
    }
  }
  return map;
}

std::string property_html(const Steps& steps) {
  auto forward = heat_map(steps, "λ²ρ", [](const LayerRecord& record) { return record.forward_property; });
  auto backward = heat_map(steps, "λ²ρ′", [](const LayerRecord& record) { return record.backward_property; });
  if (forward.rows.empty()) return "";
  std::vector<double> both = forward.values;
  both.insert(both.end(), backward.values.begin(), backward.values.end());
  forward.limit = backward.limit = page::heat_limit(both);
  std::string html =
      element("h2", "The normalization property through training") +
      element("p",
              "λ²ρ is what an activation multiplies the signal’s second moment by, λ²ρ′ what it multiplies the "
              "gradient’s by; a plain activation has λ = 1. The property asks for 1 of both. Blue is a factor that "
              "shrinks, red one that grows.") +
      page::figure(
          "A row an activation, a column a measured step; the colours are on the log scale.",
          page::heat_scale_html(forward.limit),
          page::panel("λ²ρ, forward", heat_map_html(forward)) + page::panel("λ²ρ′, backward", heat_map_html(backward)),
          false);
  if (forward.columns.size() < steps.size()) {
    html += page::note("Of " + counted(steps.size(), "measured step") + ", " + std::to_string(forward.columns.size()) +
                       " are shown, evenly chosen.");
  }
  return html;
}

std::string lambda_html(const Steps& steps) {
  if (steps.size() == 1) return "";  // the table has it
  std::map<std::int64_t, Series> by_layer;
  const auto chosen = chosen_steps(steps, kLinePoints);
  for (const std::int64_t step : chosen) {
    for (const LayerRecord& record : steps.at(step)) {
      if (!record.normalized || std::isnan(record.lambda)) continue;
      Series& series = by_layer[record.layer];
      series.name = described(record) + ", layer " + std::to_string(record.layer);
      series.points.push_back({static_cast<double>(step), record.lambda});
    }
  }
  if (by_layer.empty()) return "";
  Chart chart{.title = "λ of each ANAct through training, one line a layer, from light to dark",
              .x_title = "training step",
              .y_title = "λ",
              .thin = by_layer.size() > page::kShades};
  for (auto& [layer, series] : by_layer) {
    const std::size_t place = chart.series.size();
    series.shade = true;
    series.style = by_layer.size() == 1 ? page::kShades - 1 : place * (page::kShades - 1) / (by_layer.size() - 1);
    chart.series.push_back(std::move(series));
  }
  std::vector<Series> legend;
  for (const std::size_t i : page::spread_indices(chart.series.size(), page::kShades)) {
    legend.push_back(chart.series[i]);
  }
  std::string html =
      element("h2", "The factor λ through training") +
      element("p",
              "λ is what ANAct multiplies the activation by. A line that moves is a correction that a factor fixed at "
              "the start would have missed.") +
      page::figure("λ at each measured step, one line a layer, light for the first and dark for the last.",
                   legend_html(legend), page::panel("", chart_html(chart)), true);
  if (chosen.size() < steps.size()) {
    html += page::note("Of " + counted(steps.size(), "measured step") + ", " + std::to_string(chosen.size()) +
                       " are drawn, evenly chosen.");
  }
  return html;
}

// ---- the last step ------------------------------------------------------------------------------------------------

std::string health_html(std::int64_t step, const Layers& layers) {
  std::string panels;
  int count = 0;
  const auto add = [&](Chart chart, std::size_t style, bool (*of)(const LayerRecord&), Get get) {
    Series series{.name = chart.y_title, .style = style, .stroke = Stroke::markers};
    for (const LayerRecord& record : layers) {
      if (!of(record) || std::isnan(get(record))) continue;
      series.points.push_back({.x = static_cast<double>(record.layer), .y = get(record), .label = described(record)});
    }
    if (series.points.empty()) return;
    chart.series = {std::move(series)};
    chart.x_title = "layer";
    panels += page::panel(chart.title, chart_html(chart));
    ++count;
  };
  add({.title = "Share of dead units", .x_title = "", .y_title = "dead units, %"}, 3, is_activation,
      [](const LayerRecord& record) { return 100 * record.dead_share; });
  add({.title = "Relative size of the update", .x_title = "", .y_title = "|Δw| / |w| (log scale)", .log_y = true}, 0,
      is_weighted, [](const LayerRecord& record) { return record.update_ratio; });
  if (count == 0) return "";
  return element("h2", "Dead units and updates") +
         page::figure("At step " + std::to_string(step) +
                          ". A unit is dead where |f′(x)| is below 0.001 everywhere in the batch. The update is the "
                          "norm of the weight’s change in the step over the weight’s norm.",
                      "", panels, count == 1);
}

// Measured over predicted; none where either is missing.
std::optional<double> ratio(double measured, double predicted) {
  const double value = measured / predicted;
  return std::isnan(value) ? std::nullopt : std::optional(value);
}

bool far_off(const std::optional<double>& value) { return value && (*value > kFarOff || *value < 1 / kFarOff); }

std::optional<double> forward_ratio(const LayerRecord& record) {
  return ratio(record.output.second_moment, record.predicted_second_moment);
}

std::optional<double> backward_ratio(const LayerRecord& record) {
  return ratio(record.input_gradient.second_moment, record.predicted_gradient);
}

page::Cell ratio_cell(const std::optional<double>& value) {
  if (!value) return {""};
  const std::string mark = !far_off(value) ? "" : *value > 1 ? "▲ " : "▼ ";
  return {.text = mark + significant(*value, 3), .css = mark.empty() ? "" : "bad"};
}

void insert_after(page::Table& table, const std::string& column, const std::string& title, const Layers& layers,
                  std::optional<double> (*get)(const LayerRecord&)) {
  const auto at = std::ranges::find(table.columns, column, &page::Column::title) - table.columns.begin() + 1;
  table.columns.insert(table.columns.begin() + at, {title});
  for (std::size_t i = 0; i < layers.size(); ++i) {
    table.rows[i].insert(table.rows[i].begin() + at, ratio_cell(get(layers[i])));
  }
}

std::string table_part(std::int64_t step, const Layers& layers) {
  page::Table table = layer_rows(layers);
  // Each beside what it compares.
  insert_after(table, "E[x²] out", "E[x²] out / theory", layers, forward_ratio);
  insert_after(table, "Var g in", "E[g²] in / theory", layers, backward_ratio);
  drop_empty_columns(table);
  return element("h2", "Every layer at step " + std::to_string(step)) + table_html(table, "Every layer") +
         page::note(
             "x is what goes in and out, g the gradient with respect to it. ρ = E[f(x)²] / Var(x) and ρ′ = E[f′(x)²] "
             "are the activation’s gains, λ the factor in force, μ = E[f(x)], α the learnt scalar. “/ theory” "
             "is what was measured over what the theory predicts from the measured gains; ▲ and ▼ mark a difference of "
             "more than a factor of 2.");
}

// "λ²ρ of 20 activations lies between 0.9 and 1.1, with geometric mean 1".
std::string range_words(const std::string& name, const Layers& layers, Get get) {
  std::vector<double> values;
  double logs = 0;
  for (const LayerRecord& record : layers) {
    if (const double value = get(record); is_activation(record) && value > 0 && std::isfinite(value)) {
      values.push_back(value);
      logs += std::log(value);
    }
  }
  if (values.empty()) return "";
  const std::string centre = significant(std::exp(logs / static_cast<double>(values.size())), 3);
  if (values.size() == 1) return name + " of the activation is " + centre;
  const auto [low, high] = std::ranges::minmax(values);
  return name + " of " + counted(values.size(), "activation") + " lies between " + significant(low, 3) + " and " +
         significant(high, 3) + " (geometric mean " + centre + ")";
}

std::string off_words(const std::string& what, const Layers& layers, std::optional<double> (*get)(const LayerRecord&)) {
  std::vector<std::string> names;
  std::size_t predicted = 0;
  for (const LayerRecord& record : layers) {
    const auto value = get(record);
    predicted += value.has_value();
    if (far_off(value)) names.push_back(record.name);
  }
  if (predicted == 0) return "";
  constexpr std::size_t kNamed = 5;
  const std::size_t off = names.size();
  std::string text = " " + what + " differs from the theory by more than a factor of 2 at " + std::to_string(off) +
                     " of " + counted(predicted, "layer");
  if (off > kNamed) {
    names.resize(kNamed);
    names.push_back(std::to_string(off - kNamed) + " more");
  }
  return text + (off > 0 ? ": " + page::enumerate(names) + "." : ".");
}

std::string result(const Steps& steps) {
  const auto& [step, layers] = *steps.rbegin();
  const std::string forward =
      range_words("λ²ρ", layers, [](const LayerRecord& record) { return record.forward_property; });
  const std::string backward =
      range_words("λ²ρ′", layers, [](const LayerRecord& record) { return record.backward_property; });
  std::string text = "This is of step " + std::to_string(step) +
                     (steps.size() == 1 ? ", the one that was measured." : ", the last that was measured.");
  if (!forward.empty()) text += " " + forward + ".";
  if (!backward.empty()) text += " " + backward + ".";
  if (!forward.empty() || !backward.empty()) text += " The normalization property asks for 1 of both.";
  return text + off_words("The second moment of the output", layers, forward_ratio) +
         off_words("The mean square of the gradient with respect to the input", layers, backward_ratio);
}

}  // namespace

std::string probe_html(const ProbePage& probe) {
  const Steps steps = by_step(probe.records);
  auto fields = probe.settings;
  if (!steps.empty()) {
    const std::int64_t first = steps.begin()->first, last = steps.rbegin()->first;
    fields.emplace_back("Measured", steps.size() == 1 ? "step " + std::to_string(first)
                                                      : counted(steps.size(), "step") + ", from " +
                                                            std::to_string(first) + " to " + std::to_string(last));
    fields.emplace_back("Layers", std::to_string(steps.rbegin()->second.size()));
  }
  std::string body = "<header>\n<p class=\"kicker\">ANAct · variance probe</p>\n" + element("h1", probe.title) +
                     page::facts(fields) + "</header>\n<main>\n";
  if (steps.empty()) {
    body += element("p", "No step was measured.");
  } else {
    const auto& [step, layers] = *steps.rbegin();
    body += element("h2", "Result") + element("p", result(steps));
    body += profiles_html({"E[x²] of the output", [](const LayerRecord& record) { return record.output.second_moment; },
                           [](const LayerRecord& record) { return record.predicted_second_moment; },
                           [](const LayerRecord& record) { return record.gaussian_second_moment; }},
                          steps, "How the signal passes through the layers",
                          "A flat row of points means that the activations keep their size from layer to layer, which "
                          "is the normalization property going forward.");
    body += profiles_html(
        {"E[g²] at the input", [](const LayerRecord& record) { return record.input_gradient.second_moment; },
         [](const LayerRecord& record) { return record.predicted_gradient; },
         [](const LayerRecord& record) { return record.gaussian_gradient; }},
        steps, "How the gradient passes through the layers",
        "The mean square of the gradient with respect to each layer’s input. A flat row of points means that the "
        "gradient keeps its size on its way back; one that falls towards the first layer is a gradient that vanishes.");
    body += property_html(steps) + lambda_html(steps) + health_html(step, layers) + table_part(step, layers);
  }
  return page::document(probe.title, body + "</main>\n");
}

}  // namespace anact::layers
