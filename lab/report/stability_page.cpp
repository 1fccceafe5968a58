#include "report/stability_page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "page/chart.h"
#include "page/page.h"
#include "page/table.h"
#include "page/text.h"
#include "report/study_page.h"
#include "text/csv.h"

namespace anact::report {
namespace {

using page::Cell;
using page::counted;
using page::element;
using page::percent;
using page::significant;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kBands = page::kSeriesColours;  // more arms than this are drawn thin and without bands

constexpr std::array kColumns = {
    "arm", "depth", "lr", "seed", "status", "test_accuracy", "best_test_accuracy", "final_train_loss"};

StabilityRun read_run(const text::CsvTable& table, std::size_t row) {
  StabilityRun run;
  run.arm = name_at(table, row, 0);
  run.depth = table.integer(row, 1);
  if (run.depth < 1) table.fail_field(row, 1, "a whole number from 1 up");
  run.lr = table.number(row, 2);
  if (!(run.lr > 0) || std::isinf(run.lr)) table.fail_field(row, 2, "a finite number above 0");
  run.seed = seed_at(table, row, 3);
  run.diverged = diverged_at(table, row, 4);
  std::size_t column = 5;
  for (double* value : {&run.test_accuracy, &run.best_test_accuracy, &run.final_train_loss}) {
    *value = number_of(table, row, column, run.diverged);
    if (!run.diverged && !std::isfinite(*value)) table.fail_field(row, column, "a finite number");
    ++column;
  }
  return run;
}

// One learning rate of an arm at a depth.
struct RateCell {
  std::map<std::uint64_t, const StabilityRun*> by_seed;

  [[nodiscard]] bool completed() const {
    return std::ranges::none_of(by_seed, [](const auto& entry) { return entry.second->diverged; });
  }
  [[nodiscard]] std::vector<double> values(double StabilityRun::*member) const {
    std::vector<double> all;
    for (const auto& [seed, run] : by_seed) all.push_back(run->*member);
    return all;
  }
};

// One arm at one depth.
struct Sweep {
  std::string arm;
  std::int64_t depth = 0;
  std::set<std::uint64_t> seeds;
  std::map<double, RateCell> by_lr;

  [[nodiscard]] bool is_whole(const RateCell& cell) const { return cell.by_seed.size() == seeds.size(); }
};

// By depth, then in the order of the arms' first runs.
std::vector<Sweep> sweeps_of(std::span<const StabilityRun> runs) {
  std::vector<std::string> arms;
  for (const StabilityRun& run : runs) {
    if (std::ranges::find(arms, run.arm) == arms.end()) arms.push_back(run.arm);
  }
  std::map<std::pair<std::int64_t, std::size_t>, Sweep> sweeps;
  for (const StabilityRun& run : runs) {
    const auto place = static_cast<std::size_t>(std::ranges::find(arms, run.arm) - arms.begin());
    Sweep& sweep = sweeps[{run.depth, place}];
    sweep.arm = run.arm;
    sweep.depth = run.depth;
    sweep.seeds.insert(run.seed);
    sweep.by_lr[run.lr].by_seed[run.seed] = &run;
  }
  std::vector<Sweep> all;
  for (auto& [key, sweep] : sweeps) all.push_back(std::move(sweep));
  return all;
}

StabilityRow summarize_sweep(const Sweep& sweep, double learned) {
  StabilityRow row;
  row.arm = sweep.arm;
  row.depth = sweep.depth;
  row.seeds = sweep.seeds.size();
  for (const auto& [lr, cell] : sweep.by_lr) {
    row.runs += cell.by_seed.size();
    for (const auto& [seed, run] : cell.by_seed) row.diverged += run->diverged;
    if (!sweep.is_whole(cell) || !cell.completed()) continue;
    const auto accuracies = cell.values(&StabilityRun::test_accuracy);
    if (std::ranges::min(accuracies) >= learned) row.largest_stable_lr = lr;
    if (row.accuracy && mean(accuracies) <= *row.accuracy) continue;
    row.best_lr = lr;
    row.accuracy = mean(accuracies);
    row.accuracy_ci95 = interval_95(accuracies);
    row.best_accuracy = mean(cell.values(&StabilityRun::best_test_accuracy));
  }
  return row;
}

// Each at its best learning rate, over the seeds that both have.
std::optional<Difference> difference_between(const Sweep& sweep, double lr, const Sweep& best, double best_lr) {
  std::vector<double> values, others;
  for (const auto& [seed, run] : sweep.by_lr.at(lr).by_seed) {
    const auto& pairs = best.by_lr.at(best_lr).by_seed;
    const auto other = pairs.find(seed);
    if (other == pairs.end()) continue;
    values.push_back(run->test_accuracy);
    others.push_back(other->second->test_accuracy);
  }
  return values.empty() ? std::nullopt : std::optional(paired_difference(values, others));
}

std::string lr_text(const std::optional<double>& lr) { return lr ? significant(*lr, 6) : ""; }

std::string csv_number(const std::optional<double>& value) { return value ? significant(*value, 6) : ""; }

page::Table summary_rows(std::span<const StabilityRow> rows, bool swatches) {
  page::Table table{{{"arm", true},
                     {"depth"},
                     {"seeds"},
                     {"diverged"},
                     {"largest stable rate"},
                     {"accuracy, %"},
                     {"at rate"},
                     {"best epoch, %"},
                     {"to the best, points"},
                     {"within noise", true}},
                    {}};
  std::vector<std::string> arms;
  for (const StabilityRow& row : rows) {
    auto arm = std::ranges::find(arms, row.arm);
    if (arm == arms.end()) arm = arms.insert(arms.end(), row.arm);
    Cell name{row.arm};
    if (swatches) name.swatch = static_cast<std::size_t>(arm - arms.begin());
    Cell difference{""};
    if (row.is_best) {
      difference.text = "best";
    } else if (row.difference) {
      difference = {page::signed_fixed(100 * row.difference->mean, 2), percent(row.difference->interval)};
    }
    const std::string noise = !row.within_noise ? "" : *row.within_noise ? "yes" : "no";
    table.rows.push_back({name,
                          {std::to_string(row.depth)},
                          {std::to_string(row.seeds)},
                          {std::to_string(row.diverged) + " of " + std::to_string(row.runs)},
                          {lr_text(row.largest_stable_lr)},
                          {.text = percent(row.accuracy),
                           .interval = percent(row.accuracy_ci95),
                           .css = row.is_best || row.within_noise.value_or(false) ? "sure" : ""},
                          {lr_text(row.best_lr)},
                          {percent(row.best_accuracy)},
                          difference,
                          {noise}});
  }
  return table;
}

std::string table_note(double learned) {
  return "Largest stable rate: of the grid, where all seeds completed and reached a test accuracy of " +
         significant(100 * learned, 3) +
         " %. Accuracy: the mean over the seeds after the last epoch, ± the half width of its 95 % interval (Student’s "
         "t), "
         "at the learning rate where it is highest among those at which all seeds completed; the rate is chosen on the "
         "test data, so it flatters. Within noise: the difference to the depth’s best arm, paired by seed, does not "
         "exclude zero.";
}

page::Series curve(const Sweep& sweep, std::size_t style, bool band) {
  page::Series series{.name = sweep.arm, .style = style};
  for (const auto& [lr, cell] : sweep.by_lr) {
    if (!sweep.is_whole(cell)) continue;
    page::Point point{.x = lr, .y = kUnknown};
    if (cell.completed()) {
      const auto accuracies = cell.values(&StabilityRun::test_accuracy);
      point.y = 100 * mean(accuracies);
      if (band && accuracies.size() > 1) {
        point.low = 100 * std::ranges::min(accuracies);
        point.high = 100 * std::ranges::max(accuracies);
      }
    } else if (series.points.empty()) {
      continue;
    }
    series.points.push_back(point);
  }
  while (!series.points.empty() && std::isnan(series.points.back().y)) {
    series.points.pop_back();
    series.broken_off = true;
  }
  return series;
}

std::vector<std::int64_t> depths_of(const std::vector<Sweep>& sweeps) {
  std::vector<std::int64_t> depths;
  for (const Sweep& sweep : sweeps) {
    if (depths.empty() || depths.back() != sweep.depth) depths.push_back(sweep.depth);
  }
  return depths;
}

std::string charts_html(const std::vector<Sweep>& sweeps) {
  std::vector<std::string> arms;
  for (const Sweep& sweep : sweeps) {
    if (std::ranges::find(arms, sweep.arm) == arms.end()) arms.push_back(sweep.arm);
  }
  const bool band = arms.size() <= kBands;
  std::vector<page::Series> legend, all;
  std::vector<std::pair<std::int64_t, page::Chart>> charts;
  for (std::size_t style = 0; style < arms.size(); ++style) legend.push_back({.name = arms[style], .style = style});
  for (const std::int64_t depth : depths_of(sweeps)) {
    page::Chart chart{
        .title = "Test accuracy over the learning rate at depth " + std::to_string(depth) + ", one line an arm",
        .x_title = "learning rate",
        .y_title = "test accuracy, %",
        .log_x = true,
        .thin = !band};
    for (const Sweep& sweep : sweeps) {
      if (sweep.depth != depth) continue;
      const auto style = static_cast<std::size_t>(std::ranges::find(arms, sweep.arm) - arms.begin());
      chart.series.push_back(curve(sweep, style, band));
    }
    all.insert(all.end(), chart.series.begin(), chart.series.end());
    charts.emplace_back(depth, std::move(chart));
  }
  std::string panels;
  for (auto& [depth, chart] : charts) {
    chart.x_range = x_extent(all, true);
    chart.y_range = y_extent(all, false, true);
    panels += page::panel("Depth " + std::to_string(depth), chart_html(chart));
  }
  return element("h2", "Test accuracy by learning rate") +
         page::figure(std::string("The mean over the seeds after the last epoch, learning rates on the log scale") +
                          (band ? "; the band goes from the lowest seed to the highest." : "."),
                      legend_html(legend), panels, charts.size() == 1) +
         page::note(
             "A line ends, with a cross, at the largest learning rate that all runs bear: at the next one a run "
             "diverged.");
}

// A paragraph a depth.
std::string result_html(std::span<const StabilityRow> rows) {
  std::map<std::int64_t, std::vector<const StabilityRow*>> by_depth;
  for (const StabilityRow& row : rows) by_depth[row.depth].push_back(&row);
  std::string html;
  for (const auto& [depth, arms] : by_depth) {
    const auto best = std::ranges::find_if(arms, [](const StabilityRow* row) { return row->is_best; });
    std::string text = "At depth " + std::to_string(depth);
    if (best == arms.end()) {
      html += element("p", text + " no arm has a learning rate at which all its seeds completed.");
      continue;
    }
    std::vector<std::string> close;
    std::optional<double> largest;
    for (const StabilityRow* row : arms) {
      if (row->within_noise.value_or(false)) close.push_back(row->arm);
      if (row->largest_stable_lr) largest = std::max(largest.value_or(0), *row->largest_stable_lr);
    }
    text += " the best mean accuracy is " + percent((*best)->accuracy) + " %, of " + (*best)->arm + " at " +
            lr_text((*best)->best_lr);
    if ((*best)->seeds < 2) {
      text += ", from a single seed, so that nothing can be said of the noise.";
    } else if (arms.size() == 1) {
      text += ".";
    } else if (close.empty()) {
      text += "; no other arm is within noise of it.";
    } else {
      text += "; within noise of it " + std::string(close.size() == 1 ? "is " : "are ") + page::enumerate(close) + ".";
    }
    std::vector<std::string> furthest;
    for (const StabilityRow* row : arms) {
      if (largest && row->largest_stable_lr == largest) furthest.push_back(row->arm);
    }
    text += largest
                ? " The largest stable learning rate is " + lr_text(largest) + ", of " + page::enumerate(furthest) + "."
                : " No arm is stable at any rate.";
    html += element("p", text);
  }
  return html;
}

}  // namespace

std::vector<StabilityRun> parse_stability(std::string_view text, std::string_view source) {
  const text::CsvTable table(text, source);
  check_columns(table, kColumns, false);
  std::vector<StabilityRun> runs;
  std::set<std::tuple<std::string, std::int64_t, double, std::uint64_t>> seen;
  for (std::size_t row = 0; row < table.size(); ++row) {
    StabilityRun run = read_run(table, row);
    if (!seen.emplace(run.arm, run.depth, run.lr, run.seed).second) {
      table.fail_field(row, 3, "a seed that this arm has not had at this depth and learning rate");
    }
    runs.push_back(std::move(run));
  }
  if (runs.empty()) table.fail_header("expected runs after the header, found none");
  return runs;
}

std::vector<StabilityRow> summarize_stability(std::span<const StabilityRun> runs, double learned) {
  const auto sweeps = sweeps_of(runs);
  std::vector<StabilityRow> rows;
  std::map<std::int64_t, std::size_t> best;  // by depth
  for (const Sweep& sweep : sweeps) {
    rows.push_back(summarize_sweep(sweep, learned));
    if (!rows.back().accuracy) continue;
    const auto [found, added] = best.try_emplace(sweep.depth, rows.size() - 1);
    if (*rows.back().accuracy > *rows[found->second].accuracy) found->second = rows.size() - 1;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    StabilityRow& row = rows[i];
    if (!row.best_lr) continue;
    const std::size_t of_depth = best.at(row.depth);
    row.is_best = i == of_depth;
    if (row.is_best) continue;
    row.difference = difference_between(sweeps[i], *row.best_lr, sweeps[of_depth], *rows[of_depth].best_lr);
    if (row.difference && row.difference->interval) row.within_noise = !row.difference->excludes_zero();
  }
  return rows;
}

std::string stability_csv(std::span<const StabilityRow> rows) {
  std::string csv =
      "arm,depth,seeds,runs,diverged,largest_stable_lr,best_lr,accuracy_mean,accuracy_ci95,best_accuracy_mean,best_arm,"
      "difference_mean,difference_ci95,within_noise\n";
  for (const StabilityRow& row : rows) {
    const auto& difference = row.difference;
    csv += text::csv_field(row.arm) + "," + std::to_string(row.depth) + "," + std::to_string(row.seeds) + "," +
           std::to_string(row.runs) + "," + std::to_string(row.diverged) + "," + csv_number(row.largest_stable_lr) +
           "," + csv_number(row.best_lr) + "," + csv_number(row.accuracy) + "," + csv_number(row.accuracy_ci95) + "," +
           csv_number(row.best_accuracy) + "," + (row.is_best ? "true" : "false") + "," +
           (difference ? significant(difference->mean, 6) : "") + "," +
           (difference ? csv_number(difference->interval) : "") + "," +
           (!row.within_noise   ? ""
            : *row.within_noise ? "true"
                                : "false") +
           "\n";
  }
  return csv;
}

std::string stability_table(std::span<const StabilityRow> rows, double learned) {
  return table_markdown(summary_rows(rows, false)) + "\n" + table_note(learned) + "\n";
}

std::string stability_html(const StabilityPage& content) {
  const auto sweeps = sweeps_of(content.runs);
  const auto rows = summarize_stability(content.runs, content.learned);
  std::size_t diverged = 0;
  for (const StabilityRun& run : content.runs) diverged += run.diverged;
  auto fields = content.settings;
  fields.emplace_back("Runs",
                      counted(content.runs.size(), "run") + ", " + std::to_string(diverged) + " of which diverged");
  fields.emplace_back("Learned", "a test accuracy of " + significant(100 * content.learned, 3) + " % with every seed");
  std::string body = "<header>\n<p class=\"kicker\">ANAct · stability study</p>\n" + element("h1", content.title) +
                     page::facts(fields) + "</header>\n<main>\n" + element("h2", "Result") + result_html(rows) +
                     charts_html(sweeps) + element("h2", "All arms") +
                     table_html(summary_rows(rows, true), "All arms") +
                     page::note(table_note(content.learned) + " Bold: the best arm, and those within noise of it.");
  return page::document(content.title, body + "</main>\n");
}

}  // namespace anact::report
