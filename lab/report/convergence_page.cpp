#include "report/convergence_page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "page/chart.h"
#include "page/page.h"
#include "page/text.h"
#include "report/statistics.h"
#include "report/study_page.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using page::Cell;
using page::counted;
using page::element;
using page::significant;

constexpr double kNever = std::numeric_limits<double>::infinity();

constexpr std::size_t kFamilyArms = 4;  // fewer have no correlation worth a number
const char* const kAllArms = "all";
const char* const kSurvivors = "never diverged";

// ---- reading ------------------------------------------------------------------------------------------------------

// The training accuracies of the columns epochs_to_NN.
std::vector<std::string> read_thresholds(const text::CsvTable& table) {
  const std::string prefix = "epochs_to_";
  std::vector<std::string> thresholds;
  for (std::size_t i = kConvergenceColumns.size(); i < table.header().size(); ++i) {
    const std::string& name = table.header()[i];
    const std::string at = "column " + std::to_string(i + 1) + ": ";
    const std::string threshold = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
    if (threshold.empty() || threshold.find_first_not_of("0123456789") != std::string::npos) {
      table.fail_header(at + "expected '" + prefix + "' and a whole percentage, found '" + name + "'");
    }
    if (std::ranges::find(thresholds, threshold) != thresholds.end()) {
      table.fail_header(at + "a second '" + name + "'");
    }
    thresholds.push_back(threshold);
  }
  return thresholds;
}

StudyRun read_run(const text::CsvTable& table, std::size_t row, std::size_t thresholds) {
  StudyRun run;
  run.arm = name_at(table, row, 0);
  run.family = name_at(table, row, 1);
  run.normalized = table.boolean(row, 2);
  run.seed = seed_at(table, row, 3);
  run.diverged = diverged_at(table, row, 4);
  run.steps = table.integer(row, 5);
  std::size_t column = 6;
  for (double* distance : {&run.forward_property, &run.backward_property, &run.forward_growth, &run.backward_growth}) {
    *distance = number_of(table, row, column, run.diverged);
    if (*distance < 0) table.fail_field(row, column, "a distance from 0 up");
    ++column;
  }
  run.loss_area = table.number(row, column);
  if (!std::isfinite(run.loss_area)) table.fail_field(row, column, "a finite number");
  for (double* value : {&run.final_train_loss, &run.train_accuracy, &run.test_accuracy, &run.best_test_accuracy}) {
    *value = number_of(table, row, ++column, run.diverged);
  }
  for (std::size_t i = 0; i < thresholds; ++i) {
    ++column;
    run.epochs_to.push_back(table.text(row, column).empty() ? kNever : table.number(row, column));
    if (std::isnan(run.epochs_to.back())) table.fail_field(row, column, "a number of epochs, or nothing");
  }
  return run;
}

// ---- arms ---------------------------------------------------------------------------------------------------------

struct StudyArm {
  std::string name, family;
  bool normalized = false;
  std::vector<const StudyRun*> runs;
  std::size_t diverged = 0;
};

// In the order of their first run.
std::vector<StudyArm> arms_of(const ConvergenceStudy& study) {
  std::vector<StudyArm> arms;
  for (const StudyRun& run : study.runs) {
    auto arm = std::ranges::find(arms, run.arm, &StudyArm::name);
    if (arm == arms.end()) arm = arms.insert(arms.end(), {run.arm, run.family, run.normalized, {}, 0});
    arm->runs.push_back(&run);
    arm->diverged += run.diverged;
  }
  return arms;
}

using Get = std::function<double(const StudyRun&)>;

std::vector<double> values_of(const StudyArm& arm, const Get& get) {
  std::vector<double> values;
  for (const StudyRun* run : arm.runs) values.push_back(get(*run));
  return values;
}

// NaN when a seed's is not known: the mean of the others would be of the runs that went well.
double mean_of(const StudyArm& arm, const Get& get) { return mean(values_of(arm, get)); }

struct Quantity {
  std::string name;
  std::string title;  // in tables
  Get get;
};

const std::vector<Quantity>& distances() {
  static const std::vector<Quantity> all = {
      {"property", "property", [](const StudyRun& r) { return 0.5 * (r.forward_property + r.backward_property); }},
      {"forward_property", "property, forward", [](const StudyRun& r) { return r.forward_property; }},
      {"backward_property", "property, backward", [](const StudyRun& r) { return r.backward_property; }},
      {"growth", "growth", [](const StudyRun& r) { return 0.5 * (r.forward_growth + r.backward_growth); }},
      {"forward_growth", "growth, forward", [](const StudyRun& r) { return r.forward_growth; }},
      {"backward_growth", "growth, backward", [](const StudyRun& r) { return r.backward_growth; }}};
  return all;
}

std::vector<Quantity> outcomes(const ConvergenceStudy& study) {
  std::vector<Quantity> all = {{"loss_area", "loss area", [](const StudyRun& r) { return r.loss_area; }},
                               {"test_accuracy", "test accuracy", [](const StudyRun& r) { return r.test_accuracy; }}};
  for (std::size_t i = 0; i < study.thresholds.size(); ++i) {
    all.push_back({"epochs_to_" + study.thresholds[i], "epochs to " + study.thresholds[i] + " %",
                   [i](const StudyRun& r) { return r.epochs_to[i]; }});
  }
  return all;
}

struct Group {
  std::string name;
  std::vector<StudyArm> arms;
  bool interval = false;
};

std::vector<Group> groups_of(const std::vector<StudyArm>& arms) {
  std::vector<Group> groups = {{kAllArms, arms, true}, {kSurvivors, {}, true}};
  std::ranges::copy_if(arms, std::back_inserter(groups[1].arms), [](const StudyArm& arm) { return arm.diverged == 0; });
  std::vector<Group> families;
  for (const StudyArm& arm : arms) {
    const std::string name = "family " + arm.family;
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

// ---- the page -----------------------------------------------------------------------------------------------------

std::vector<std::string> families_of(const std::vector<StudyArm>& arms) {
  std::vector<std::string> families;
  for (const StudyArm& arm : arms) {
    if (std::ranges::find(families, arm.family) == families.end()) families.push_back(arm.family);
  }
  return families;
}

std::size_t style_of(const std::vector<std::string>& families, const std::string& family) {
  return static_cast<std::size_t>(std::ranges::find(families, family) - families.begin());
}

page::Series empty_series(const std::string& family, std::size_t style, bool normalized) {
  return {.name = family + (normalized ? ", normalized" : ", plain"),
          .style = style,
          .stroke = page::Stroke::markers,
          .hollow = !normalized};
}

std::string scatter_html(const std::vector<StudyArm>& arms, const Quantity& distance, const std::string& x_title,
                         const std::string& heading, const std::string& reading) {
  page::Chart chart{.title = "Loss area over the " + x_title + ", one marker an arm",
                    .x_title = x_title,
                    .y_title = "loss area",
                    .log_x = true};
  const Get loss = [](const StudyRun& run) { return run.loss_area; };
  const auto families = families_of(arms);
  for (std::size_t style = 0; style < families.size(); ++style) {
    for (const bool normalized : {true, false}) {
      page::Series series = empty_series(families[style], style, normalized);
      for (const StudyArm& arm : arms) {
        if (arm.family != families[style] || arm.normalized != normalized) continue;
        page::Point point{.x = mean_of(arm, distance.get), .y = mean_of(arm, loss), .label = arm.name};
        if (arm.diverged > 0) {
          point.label += " (" + std::to_string(arm.diverged) + " of " + std::to_string(arm.runs.size()) + " diverged)";
        }
        if (arm.runs.size() > 1) {
          const auto across = std::ranges::minmax(values_of(arm, distance.get));
          const auto up = std::ranges::minmax(values_of(arm, loss));
          point.x_low = across.min;
          point.x_high = across.max;
          point.low = up.min;
          point.high = up.max;
        }
        series.points.push_back(point);
      }
      if (!series.points.empty()) chart.series.push_back(std::move(series));
    }
  }
  return element("h2", heading) + element("p", reading) +
         page::figure(
             "One marker an arm: the mean of its seeds, with bars from the lowest seed to the highest. The "
             "distance is on the log scale.",
             legend_html(chart.series), page::panel("", chart_html(chart)), true);
}

std::string epochs_text(double epochs) { return std::isinf(epochs) ? "never" : significant(epochs, 4); }

std::string arms_html(const ConvergenceStudy& study, const std::vector<StudyArm>& arms) {
  page::Table table{{{"arm", true}, {"family", true}, {"seeds"}, {"diverged"}}, {}};
  for (const Quantity& distance : distances()) table.columns.push_back({distance.title});
  table.columns.push_back({"loss area"});
  table.columns.push_back({"accuracy, %"});
  for (const std::string& threshold : study.thresholds) table.columns.push_back({"epochs to " + threshold + " %"});
  const auto families = families_of(arms);
  const auto cell = [](const StudyArm& arm, const Get& get, double scale, int digits) -> Cell {
    auto values = values_of(arm, get);
    for (double& value : values) value *= scale;
    const double centre = mean(values);
    if (std::isnan(centre)) return {""};
    const auto interval = interval_95(values);
    const bool given = interval && std::isfinite(*interval);
    return {.text = significant(centre, digits), .interval = given ? significant(*interval, 2) : ""};
  };
  for (const StudyArm& arm : arms) {
    std::vector<Cell> row = {{.text = arm.name, .swatch = style_of(families, arm.family)},
                             {arm.family},
                             {std::to_string(arm.runs.size())},
                             {.text = std::to_string(arm.diverged), .css = arm.diverged > 0 ? "bad" : ""}};
    for (const Quantity& distance : distances()) row.push_back({cell(arm, distance.get, 1, 3).text});
    row.push_back(cell(
        arm, [](const StudyRun& run) { return run.loss_area; }, 1, 4));
    row.push_back(cell(
        arm, [](const StudyRun& run) { return run.test_accuracy; }, 100, 4));
    for (std::size_t i = 0; i < study.thresholds.size(); ++i) {
      row.push_back({epochs_text(mean_of(arm, [i](const StudyRun& run) { return run.epochs_to[i]; }))});
    }
    table.rows.push_back(std::move(row));
  }
  return element("h2", "All arms") + table_html(table, "All arms") +
         page::note(
             "The mean of each arm’s seeds; ± is the half width of the 95 % interval (Student’s t over the seeds). "
             "Nothing is given where a run that diverged has no value. An arm counts as never reaching a training "
             "accuracy when one of its seeds did not.");
}

std::string page_table_html(const ConvergenceStudy& study, std::span<const Correlation> correlations) {
  page::Table table = rank_table(correlations);
  for (auto& row : table.rows) {
    for (const Quantity& outcome : outcomes(study)) {
      if (outcome.name == row[1].text) {
        row[1].text = outcome.title;
        break;
      }
    }
  }
  return element("h2", "Rank correlations") + table_html(table, "Rank correlations") +
         page::note(std::string(kTableNote) + " Bold: the interval excludes zero.");
}

}  // namespace

ConvergenceStudy parse_convergence(std::string_view text, std::string_view source) {
  const text::CsvTable table(text, source);
  ConvergenceStudy study;
  check_columns(table, kConvergenceColumns, true);
  study.thresholds = read_thresholds(table);
  std::map<std::string, std::pair<std::string, bool>> families;
  std::set<std::pair<std::string, std::uint64_t>> seen;
  for (std::size_t row = 0; row < table.size(); ++row) {
    StudyRun run = read_run(table, row, study.thresholds.size());
    const auto [family, added] = families.try_emplace(run.arm, run.family, run.normalized);
    if (family->second.first != run.family) {
      table.fail_field(row, 1, "\"" + family->second.first + "\", which this arm's first run has");
    }
    if (family->second.second != run.normalized) {
      table.fail_field(row, 2, std::string(run.normalized ? "false" : "true") + ", which this arm's first run has");
    }
    if (!seen.emplace(run.arm, run.seed).second) table.fail_field(row, 3, "a seed that this arm has not had");
    study.runs.push_back(std::move(run));
  }
  if (study.runs.empty()) table.fail_header("expected runs after the header, found none");
  return study;
}

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

std::vector<Correlation> correlations(const ConvergenceStudy& study) {
  std::vector<Correlation> all;
  for (const Group& group : groups_of(arms_of(study))) {
    for (const Quantity& outcome : outcomes(study)) {
      for (const Quantity& distance : distances()) {
        std::vector<double> x, y;
        for (const StudyArm& arm : group.arms) {
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

std::string correlations_csv(std::span<const Correlation> correlations) {
  std::string csv = "distance,outcome,arms,count,spearman,low,high\n";
  for (const Correlation& row : correlations) {
    csv += row.distance + "," + row.outcome + "," + text::csv_field(row.arms) + "," + std::to_string(row.count) + "," +
           (row.value ? significant(*row.value, 6) : "") + ",";
    if (row.interval) csv += significant(row.interval->first, 6) + "," + significant(row.interval->second, 6);
    csv += row.interval ? "\n" : ",\n";
  }
  return csv;
}

std::string correlations_table(std::span<const Correlation> correlations) {
  return table_markdown(rank_table(correlations)) + "\n" + kTableNote + "\n";
}

std::string convergence_conclusion(std::span<const Correlation> correlations) {
  std::string text;
  for (const std::string arms : {kAllArms, kSurvivors}) {
    const Correlation* found = find(correlations, "property", "loss_area", arms);
    if (found == nullptr) continue;
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

std::string convergence_html(const ConvergencePage& content) {
  const ConvergenceStudy& study = content.study;
  const auto arms = arms_of(study);
  const auto all = content.correlations;
  std::size_t diverged = 0;
  for (const StudyRun& run : study.runs) diverged += run.diverged;
  auto fields = content.settings;
  fields.emplace_back("Runs", counted(study.runs.size(), "run") + " of " + counted(arms.size(), "arm") + ", " +
                                  std::to_string(diverged) + " of which diverged");
  std::vector<std::string> left_out;
  for (const StudyArm& arm : arms) {
    if (std::isnan(mean_of(arm, distances()[0].get))) left_out.push_back(arm.name);
  }
  const std::string omitted =
      left_out.empty()
          ? ""
          : " Left out, since the distance is not known of a run that diverged: " + page::enumerate(left_out) + ".";
  std::string body = "<header>\n<p class=\"kicker\">ANAct · convergence study</p>\n" + element("h1", content.title) +
                     page::facts(fields) + "</header>\n<main>\n" + element("h2", "Result") +
                     element("p", convergence_conclusion(all) + omitted +
                                      " A positive correlation is a loss area that is larger further from the "
                                      "property: slower training. A correlation over arms does not say what causes "
                                      "it.");
  body += scatter_html(arms, distances()[0], "distance from the property",
                       "Distance from the normalization property, and speed of training",
                       "The distance is the mean of the forward and the backward one; 0 is the property held at every "
                       "layer.");
  body += scatter_html(arms, distances()[3], "distance from constant growth",
                       "Growth from layer to layer, and speed of training",
                       "The growth counts the weights as well: 0 is a signal and a gradient that keep their size from "
                       "layer to layer.");
  body += page_table_html(study, all) + arms_html(study, arms);
  return page::document(content.title, body + "</main>\n");
}

}  // namespace anact::report
