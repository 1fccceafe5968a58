#include "report/correlations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "page/chart.h"
#include "page/page.h"
#include "page/table.h"
#include "page/text.h"
#include "report/statistics.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using page::Cell;
using page::counted;
using page::element;
using page::significant;

constexpr double kNever = std::numeric_limits<double>::infinity();

constexpr std::size_t kFamilyArms = 4;                // fewer have no correlation worth a number
constexpr std::array kThresholds = {25, 50, 75, 90};  // percent of training accuracy
const char* const kAllArms = "all";
const char* const kSurvivors = "never diverged";

// ---- arms ---------------------------------------------------------------------------------------------------------

struct ArmPoint {
  const StudyArm* arm = nullptr;
  Tried at;
};

// In the plan's order; arms that no setting speaks for are left out.
std::vector<ArmPoint> arms_of(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  std::vector<ArmPoint> arms;
  for (const StudyArm& arm : experiment.arms) {
    if (auto at = runs_that_count(experiment, rows, arm.name)) arms.push_back({&arm, std::move(*at)});
  }
  return arms;
}

using Get = std::function<double(const StudyRow&)>;

std::vector<double> values_of(const ArmPoint& arm, const Get& get) {
  std::vector<double> values;
  for (const StudyRow* row : arm.at.rows) values.push_back(get(*row));
  return values;
}

// NaN when a seed's is not known: the mean of the others would be of the runs that went well.
double mean_of(const ArmPoint& arm, const Get& get) { return mean(values_of(arm, get)); }

struct Quantity {
  std::string name;
  std::string title;  // in tables
  Get get;
};

const std::vector<Quantity>& distances() {
  static const std::vector<Quantity> all = {
      {"property", "property", [](const StudyRow& r) { return 0.5 * (r.forward_property + r.backward_property); }},
      {"forward_property", "property, forward", [](const StudyRow& r) { return r.forward_property; }},
      {"backward_property", "property, backward", [](const StudyRow& r) { return r.backward_property; }},
      {"growth", "growth", [](const StudyRow& r) { return 0.5 * (r.forward_growth + r.backward_growth); }},
      {"forward_growth", "growth, forward", [](const StudyRow& r) { return r.forward_growth; }},
      {"backward_growth", "growth, backward", [](const StudyRow& r) { return r.backward_growth; }}};
  return all;
}

double epochs_to(const StudyRow& row, int percent) {
  for (std::size_t i = 0; i < row.train_accuracies.size(); ++i) {
    if (100 * row.train_accuracies[i] >= percent) return static_cast<double>(i + 1);
  }
  return kNever;
}

const std::vector<Quantity>& outcomes() {
  static const std::vector<Quantity> all = [] {
    std::vector<Quantity> list = {
        {"loss_area", "loss area", [](const StudyRow& r) { return r.loss_area; }},
        {"test_accuracy", "test accuracy", [](const StudyRow& r) { return r.test_accuracy; }}};
    for (const int percent : kThresholds) {
      const auto text = std::to_string(percent);
      list.push_back({"epochs_to_" + text, "epochs to " + text + " %",
                      [percent](const StudyRow& r) { return epochs_to(r, percent); }});
    }
    return list;
  }();
  return all;
}

struct Group {
  std::string name;
  std::vector<ArmPoint> arms;
  bool interval = false;
};

std::vector<Group> groups_of(const std::vector<ArmPoint>& arms) {
  std::vector<Group> groups = {{kAllArms, arms, true}, {kSurvivors, {}, true}};
  std::ranges::copy_if(arms, std::back_inserter(groups[1].arms),
                       [](const ArmPoint& arm) { return arm.at.diverged == 0; });
  std::vector<Group> families;
  for (const ArmPoint& arm : arms) {
    const std::string name = "family " + arm.arm->activation;
    auto family = std::ranges::find(families, name, &Group::name);
    if (family == families.end()) family = families.insert(families.end(), {name, {}, false});
    family->arms.push_back(arm);
  }
  std::erase_if(families, [](const Group& family) { return family.arms.size() < kFamilyArms; });
  groups.insert(groups.end(), families.begin(), families.end());
  return groups;
}

// ---- rank correlation ---------------------------------------------------------------------------------------------

// The place of each value among the different ones, from 0.
std::vector<std::size_t> places_of(std::span<const double> values) {
  std::vector<double> different(values.begin(), values.end());
  std::ranges::sort(different);
  different.erase(std::unique(different.begin(), different.end()), different.end());
  std::vector<std::size_t> places;
  for (const double value : values) {
    places.push_back(static_cast<std::size_t>(std::ranges::lower_bound(different, value) - different.begin()));
  }
  return places;
}

// Pairs that are drawn so many times each. Ranking what is ranked already costs no sort.
class RankCorrelation {
 public:
  RankCorrelation(std::span<const double> x, std::span<const double> y) : x_(places_of(x)), y_(places_of(y)) {}

  std::optional<double> operator()(const std::vector<double>& times) {
    double total = 0;
    for (const double count : times) total += count;
    rank(x_, times, x_ranks_);
    rank(y_, times, y_ranks_);
    const double middle = 0.5 * (total + 1);  // the mean of the ranks 1 … total
    double xx = 0, yy = 0, xy = 0;
    for (std::size_t i = 0; i < times.size(); ++i) {
      const double dx = x_ranks_[x_[i]] - middle, dy = y_ranks_[y_[i]] - middle;
      xx += times[i] * dx * dx;
      yy += times[i] * dy * dy;
      xy += times[i] * dx * dy;
    }
    if (!(xx > 0) || !(yy > 0)) return std::nullopt;
    // One root, so that equal ranks give exactly 1.
    return std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);
  }

 private:
  // The mean of the ranks that equal values share, by place.
  static void rank(const std::vector<std::size_t>& places, const std::vector<double>& times,
                   std::vector<double>& ranks) {
    ranks.assign(places.size(), 0);
    for (std::size_t i = 0; i < places.size(); ++i) ranks[places[i]] += times[i];
    double below = 0;
    for (double& entry : ranks) {
      const double count = entry;
      entry = below + 0.5 * (count + 1);
      below += count;
    }
  }

  std::vector<std::size_t> x_, y_;
  std::vector<double> x_ranks_, y_ranks_;
};

// Evenly from 0 to count - 1. std::uniform_int_distribution differs between standard libraries.
std::size_t draw_below(std::mt19937_64& random, std::uint64_t count) {
  constexpr std::uint64_t kMost = std::mt19937_64::max();
  const std::uint64_t end = kMost - kMost % count;
  std::uint64_t draw = random();
  while (draw >= end) draw = random();
  return static_cast<std::size_t>(draw % count);
}

// Between the neighbours of the place, linearly.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// ---- words --------------------------------------------------------------------------------------------------------

const Correlation* find(std::span<const Correlation> correlations, const std::string& distance,
                        const std::string& outcome, const std::string& arms) {
  const auto found = std::ranges::find_if(correlations, [&](const Correlation& c) {
    return c.distance == distance && c.outcome == outcome && c.arms == arms;
  });
  return found == correlations.end() ? nullptr : &*found;
}

std::string value_text(const Correlation& correlation) {
  if (!correlation.value) return "";
  std::string text = page::signed_fixed(*correlation.value, 2);
  if (const auto& interval = correlation.interval) {
    text += " [" + page::signed_fixed(interval->first, 2) + ", " + page::signed_fixed(interval->second, 2) + "]";
  }
  return text;
}

bool excludes_zero(const Correlation& correlation) {
  return correlation.interval && (correlation.interval->first > 0 || correlation.interval->second < 0);
}

page::Table rank_table(std::span<const Correlation> correlations) {
  page::Table table{{{"arms", true}, {"outcome", true}, {"count"}}, {}};
  for (const Quantity& distance : distances()) table.columns.push_back({distance.title});
  for (const Correlation& row : correlations) {
    if (row.distance != distances().front().name) continue;
    std::vector<const Correlation*> cells;
    std::size_t most = 0;
    for (const Quantity& distance : distances()) {
      cells.push_back(find(correlations, distance.name, row.outcome, row.arms));
      if (cells.back() != nullptr) most = std::max(most, cells.back()->count);
    }
    std::vector<Cell> line = {{row.arms}, {row.outcome}, {std::to_string(most)}};
    for (const Correlation* cell : cells) {
      std::string text = cell == nullptr ? "" : value_text(*cell);
      if (!text.empty() && cell->count < most) text += " (" + std::to_string(cell->count) + ")";
      line.push_back({.text = text, .css = cell != nullptr && excludes_zero(*cell) ? "sure" : ""});
    }
    table.rows.push_back(std::move(line));
  }
  return table;
}

const char* const kTableNote =
    "Spearman’s rank correlation over the arms, each the mean of its seeds, with its 95 % interval from a bootstrap "
    "that "
    "draws arms with all their seeds; a number of arms in round brackets where a distance is not known of all. An arm "
    "of which a seed never reached a training accuracy is ranked last in the epochs to it. Nothing is corrected for "
    "the "
    "number of correlations.";

// ---- the section --------------------------------------------------------------------------------------------------

std::vector<std::string> families_of(const std::vector<ArmPoint>& arms) {
  std::vector<std::string> families;
  for (const ArmPoint& arm : arms) {
    if (std::ranges::find(families, arm.arm->activation) == families.end()) families.push_back(arm.arm->activation);
  }
  return families;
}

page::Point point_of(const ArmPoint& arm, const Quantity& distance) {
  const Get loss = [](const StudyRow& row) { return row.loss_area; };
  page::Point point{.x = mean_of(arm, distance.get), .y = mean_of(arm, loss), .label = arm.arm->name};
  const std::size_t seeds = arm.at.rows.size();
  if (arm.at.diverged > 0) {
    point.label += " (" + std::to_string(arm.at.diverged) + " of " + std::to_string(seeds) + " diverged)";
  }
  if (seeds > 1) {
    const auto across = std::ranges::minmax(values_of(arm, distance.get));
    const auto up = std::ranges::minmax(values_of(arm, loss));
    point.x_low = across.min;
    point.x_high = across.max;
    point.low = up.min;
    point.high = up.max;
  }
  return point;
}

page::Chart scatter(const std::vector<ArmPoint>& arms, const Quantity& distance, const std::string& x_title) {
  page::Chart chart{.title = "Loss area over the " + x_title + ", one marker an arm",
                    .x_title = x_title,
                    .y_title = "loss area",
                    .log_x = true};
  const auto families = families_of(arms);
  for (std::size_t style = 0; style < families.size(); ++style) {
    for (const bool normalized : {true, false}) {
      page::Series series{.name = families[style] + (normalized ? ", normalized" : ", plain"),
                          .style = style,
                          .stroke = page::Stroke::markers,
                          .hollow = !normalized};
      for (const ArmPoint& arm : arms) {
        if (arm.arm->activation != families[style] || arm.arm->normalized != normalized) continue;
        series.points.push_back(point_of(arm, distance));
      }
      if (!series.points.empty()) chart.series.push_back(std::move(series));
    }
  }
  return chart;
}

std::string epochs_text(double epochs) { return std::isinf(epochs) ? "never" : significant(epochs, 4); }

std::string arms_html(const std::vector<ArmPoint>& arms) {
  page::Table table{{{"arm", true}, {"seeds"}, {"diverged"}}, {}};
  for (const Quantity& distance : distances()) table.columns.push_back({distance.title});
  for (const Quantity& outcome : outcomes()) {
    table.columns.push_back({outcome.title + (outcome.name == "test_accuracy" ? ", %" : "")});
  }
  for (const ArmPoint& arm : arms) {
    std::vector<Cell> row = {{arm.arm->name},
                             {std::to_string(arm.at.rows.size())},
                             {.text = std::to_string(arm.at.diverged), .css = arm.at.diverged > 0 ? "bad" : ""}};
    const auto known = [](double value) { return std::isnan(value) ? "" : significant(value, 3); };
    for (const Quantity& distance : distances()) row.push_back({known(mean_of(arm, distance.get))});
    for (const Quantity& outcome : outcomes()) {
      const double value = mean_of(arm, outcome.get);
      if (outcome.name.starts_with("epochs")) {
        row.push_back({epochs_text(value)});
      } else if (outcome.name == "test_accuracy") {
        row.push_back({std::isnan(value) ? "" : page::percent(value)});
      } else {
        row.push_back({known(value)});
      }
    }
    table.rows.push_back(std::move(row));
  }
  return "<details>\n<summary>Distances and speed of every arm</summary>\n" +
         table_html(table, "Distances of every arm") +
         page::note(
             "The mean of each arm’s seeds. Nothing is given where a run that diverged has no value. An arm counts as "
             "never reaching a training accuracy when one of its seeds did not.") +
         "</details>\n";
}

std::string ranks_html(std::span<const Correlation> correlations) {
  page::Table table = rank_table(correlations);
  for (auto& row : table.rows) row[1].text = std::ranges::find(outcomes(), row[1].text, &Quantity::name)->title;
  return "<details>\n<summary>All rank correlations</summary>\n" + table_html(table, "Rank correlations") +
         page::note(std::string(kTableNote) + " Bold: the interval excludes zero.") + "</details>\n";
}

}  // namespace

std::optional<double> spearman(std::span<const double> x, std::span<const double> y) {
  return RankCorrelation(x, y)(std::vector<double>(x.size(), 1));
}

std::optional<std::pair<double, double>> spearman_interval(std::span<const double> x, std::span<const double> y) {
  constexpr int kDraws = 10'000;
  if (x.empty()) return std::nullopt;
  RankCorrelation correlation(x, y);
  std::mt19937_64 random(20'220'813);
  std::vector<double> values, times;
  for (int draw = 0; draw < kDraws; ++draw) {
    times.assign(x.size(), 0);
    for (std::size_t i = 0; i < x.size(); ++i) ++times[draw_below(random, x.size())];
    if (const auto value = correlation(times)) values.push_back(*value);
  }
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  return std::pair(quantile(values, 0.025), quantile(values, 0.975));
}

bool has_distances(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  return std::ranges::any_of(rows, [&](const StudyRow& row) {
    return row.experiment == experiment.name &&
           !(std::isnan(row.forward_property) && std::isnan(row.backward_property) && std::isnan(row.forward_growth) &&
             std::isnan(row.backward_growth));
  });
}

std::vector<Correlation> correlations(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  std::vector<Correlation> all;
  for (const Group& group : groups_of(arms_of(experiment, rows))) {
    for (const Quantity& outcome : outcomes()) {
      for (const Quantity& distance : distances()) {
        std::vector<double> x, y;
        for (const ArmPoint& arm : group.arms) {
          const double at = mean_of(arm, distance.get), result = mean_of(arm, outcome.get);
          if (std::isnan(at) || std::isnan(result)) continue;
          x.push_back(at);
          y.push_back(result);
        }
        Correlation correlation{distance.name, outcome.name, group.name, x.size(), spearman(x, y), std::nullopt};
        if (group.interval && correlation.value) correlation.interval = spearman_interval(x, y);
        all.push_back(std::move(correlation));
      }
    }
  }
  return all;
}

std::string correlations_csv(const Study& study, std::span<const StudyRow> rows) {
  std::string csv = "experiment,distance,outcome,arms,count,spearman,low,high\n";
  const auto number = [](double value) { return significant(value, 6); };
  for (const StudyExperiment& experiment : study.experiments) {
    if (!has_distances(experiment, rows)) continue;
    for (const Correlation& row : correlations(experiment, rows)) {
      csv += text::csv_row({experiment.name, row.distance, row.outcome, row.arms, std::to_string(row.count),
                            row.value ? number(*row.value) : "", row.interval ? number(row.interval->first) : "",
                            row.interval ? number(row.interval->second) : ""});
    }
  }
  return csv;
}

std::string correlations_table(std::span<const Correlation> correlations) {
  return table_markdown(rank_table(correlations)) + "\n" + kTableNote + "\n";
}

std::string correlations_conclusion(std::span<const Correlation> correlations) {
  std::string text;
  std::optional<std::size_t> all_arms;
  for (const std::string arms : {kAllArms, kSurvivors}) {
    const Correlation* found = find(correlations, "property", "loss_area", arms);
    if (found == nullptr || (arms == kSurvivors && found->count == all_arms)) continue;
    if (arms == kAllArms) all_arms = found->count;
    const std::string over = arms == kAllArms ? counted(found->count, "arm")
                                              : "the " + std::to_string(found->count) + " that never diverged";
    text += text.empty() ? "" : " ";
    if (!found->value || !found->interval) {
      text += "Over " + over +
              " there is no rank correlation between the distance from the property and the loss area: "
              "one of the two does not vary.";
      continue;
    }
    text += "Over " + over + " the rank correlation between the distance from the property and the loss area is " +
            value_text(*found) + ": the interval " + (excludes_zero(*found) ? "excludes" : "does not exclude") +
            " zero.";
  }
  return text;
}

std::string correlations_html(const StudyExperiment& experiment, std::span<const StudyRow> rows) {
  const auto arms = arms_of(experiment, rows);
  const auto all = correlations(experiment, rows);
  const Quantity& property = distances()[0];
  const Quantity& growth = distances()[3];
  std::vector<std::string> left_out;
  for (const ArmPoint& arm : arms) {
    if (std::isnan(mean_of(arm, property.get))) left_out.push_back(arm.arm->name);
  }
  const std::string omitted =
      left_out.empty() ? ""
                       : " Left out, since the distance is not known of every run: " + page::enumerate(left_out) + ".";
  const auto by_property = scatter(arms, property, "distance from the property");
  const auto by_growth = scatter(arms, growth, "distance from constant growth");
  return page::part("Distance from the normalization property, and speed of training") +
         element("p", correlations_conclusion(all) + omitted +
                          " A positive correlation is a loss area that is larger further from the property: slower "
                          "training. A correlation over arms does not say what causes it.") +
         page::figure(
             "One marker an arm: the mean of its seeds, with bars from the lowest seed to the highest. Distances are "
             "on the log scale.",
             legend_html(by_property.series),
             page::panel("From the property: 0 is the property held at every layer", chart_html(by_property)) +
                 page::panel("From constant growth, weights and all: 0 is a signal and a gradient that keep their size",
                             chart_html(by_growth)),
             false) +
         ranks_html(all) + arms_html(arms);
}

}  // namespace anact::report
