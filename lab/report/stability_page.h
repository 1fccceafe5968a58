// The stability study: how large a learning rate each arm bears at each depth, and how well it does at its best one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/statistics.h"

namespace anact::report {

// One run, a row of runs.csv. What a diverged run does not have is NaN.
struct StabilityRun {
  std::string arm;
  std::int64_t depth = 0;
  double lr = 0;
  std::uint64_t seed = 0;
  bool diverged = false;
  double test_accuracy = 0;  // after the last epoch
  double best_test_accuracy = 0;
  double final_train_loss = 0;
};

// `source` is what errors call the text. Throws std::runtime_error that names the source, the line, the column and what
// was expected there: also for a run that is there twice, and for a study without runs.
[[nodiscard]] std::vector<StabilityRun> parse_stability(std::string_view text, std::string_view source);

inline constexpr double kLearned = 0.5;

// One arm at one depth. A learning rate counts only where every seed that the arm has at this depth was run.
struct StabilityRow {
  std::string arm;
  std::int64_t depth = 0;
  std::size_t seeds = 0;
  std::size_t runs = 0;
  std::size_t diverged = 0;
  // The largest at which all seeds completed with at least the test accuracy that counts as learned.
  std::optional<double> largest_stable_lr;
  // Where the mean test accuracy is highest, of the learning rates at which all seeds completed; none without one. It
  // is chosen on the test data.
  std::optional<double> best_lr;
  std::optional<double> accuracy;
  std::optional<double> accuracy_ci95;
  std::optional<double> best_accuracy;  // the mean of each seed's best epoch there
  // To the depth's best arm, paired by seed, each at its own best learning rate; none for the best arm.
  bool is_best = false;
  std::optional<Difference> difference;
  std::optional<bool> within_noise;  // the difference does not exclude zero; none without an interval
};

// By depth, then in the order of the arms' first runs.
[[nodiscard]] std::vector<StabilityRow> summarize_stability(std::span<const StabilityRun> runs,
                                                            double learned = kLearned);

// RFC 4180, with '\n' at each line's end.
[[nodiscard]] std::string stability_csv(std::span<const StabilityRow> rows);

// For the terminal, and Markdown as well.
[[nodiscard]] std::string stability_table(std::span<const StabilityRow> rows, double learned = kLearned);

struct StabilityPage {
  std::string title;
  std::vector<std::pair<std::string, std::string>> settings;
  std::span<const StabilityRun> runs;
  double learned = kLearned;
};
[[nodiscard]] std::string stability_html(const StabilityPage& page);

}  // namespace anact::report
