// The convergence study: whether arms that are closer to the normalization property train faster.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "page/table.h"

namespace anact::report {

// The columns of runs.csv; after them any number of epochs_to_NN, of NN percent of training accuracy.
inline constexpr std::array kConvergenceColumns = {"arm",
                                                   "family",
                                                   "normalized",
                                                   "seed",
                                                   "status",
                                                   "steps",
                                                   "forward_property_distance",
                                                   "backward_property_distance",
                                                   "forward_growth_distance",
                                                   "backward_growth_distance",
                                                   "loss_area",
                                                   "final_train_loss",
                                                   "train_accuracy",
                                                   "test_accuracy",
                                                   "best_test_accuracy"};

// One run, a row of runs.csv. What a diverged run does not have is NaN.
struct StudyRun {
  std::string arm;
  std::string family;  // the activation without its normalization
  bool normalized = false;
  std::uint64_t seed = 0;
  bool diverged = false;
  std::int64_t steps = 0;
  double forward_property = 0;  // distances: 0 is the property held, infinity is a signal that was lost
  double backward_property = 0;
  double forward_growth = 0;
  double backward_growth = 0;
  double loss_area = 0;  // finite; a diverged run has the untrained loss for the rest
  double final_train_loss = 0;
  double train_accuracy = 0;
  double test_accuracy = 0;
  double best_test_accuracy = 0;
  std::vector<double> epochs_to;  // for each of ConvergenceStudy::thresholds; infinity: never reached
};

struct ConvergenceStudy {
  std::vector<std::string> thresholds;  // percent of training accuracy, "90"
  std::vector<StudyRun> runs;
};

// `source` is what errors call the text. Throws std::runtime_error that names the source, the line, the column and what
// was expected there: also for an arm with two families, or with the same seed twice, and for a study without runs.
[[nodiscard]] ConvergenceStudy parse_convergence(std::string_view text, std::string_view source);

// Spearman's rank correlation, with average ranks for ties. Infinities are ranked, NaN may not occur. None when one
// side is constant, or of fewer than two pairs.
[[nodiscard]] std::optional<double> spearman(std::span<const double> x, std::span<const double> y);

// The 95 % percentile interval of spearman() over 10,000 samples of the pairs with replacement, the same everywhere.
// Samples in which a side is constant are left out; none when all of them are.
[[nodiscard]] std::optional<std::pair<double, double>> spearman_interval(std::span<const double> x,
                                                                         std::span<const double> y);

struct Correlation {
  std::string distance;   // "forward_property", …, "property" for the mean of both directions
  std::string outcome;    // "loss_area", "test_accuracy", "epochs_to_90", …
  std::string arms;       // "all", "never diverged", "family silu"
  std::size_t count = 0;  // arms that have both
  std::optional<double> value;
  std::optional<std::pair<double, double>> interval;  // none for a family
};

// Over arms, each of which is one point, the mean of its seeds; so what the bootstrap draws is arms with all their
// seeds. An arm that a distance or an outcome is not known of, for any of its seeds, is left out of that correlation;
// one with a seed that never reached a training accuracy is ranked last in it. Families have at least four arms.
[[nodiscard]] std::vector<Correlation> correlations(const ConvergenceStudy& study);

// RFC 4180: distance,outcome,arms,count,spearman,low,high.
[[nodiscard]] std::string correlations_csv(std::span<const Correlation> correlations);

// A row for each outcome and group of arms, a column a distance, for the terminal and Markdown.
[[nodiscard]] std::string correlations_table(std::span<const Correlation> correlations);

// What the study shows of the distance from the property and the loss area, in words.
[[nodiscard]] std::string convergence_conclusion(std::span<const Correlation> correlations);

struct ConvergencePage {
  std::string title;
  std::vector<std::pair<std::string, std::string>> settings;
  const ConvergenceStudy& study;
  std::span<const Correlation> correlations;  // of `study`
};
[[nodiscard]] std::string convergence_html(const ConvergencePage& page);

}  // namespace anact::report
