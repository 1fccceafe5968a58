// One row an arm: computed once, written as CSV, as a table and in the report.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/run.h"
#include "report/statistics.h"

namespace anact::report {

struct Row {
  std::string arm;
  std::size_t started = 0;
  std::size_t completed = 0;
  std::size_t diverged = 0;
  // Over the completed runs; empty when a run of the arm diverged, since a mean over the survivors would hide it.
  std::optional<double> accuracy;  // test accuracy after the last epoch
  std::optional<double> accuracy_ci95;
  std::optional<double> best_accuracy;
  std::optional<double> top5;  // after the last epoch; none either when a run did not write it
  std::optional<double> loss;
  std::optional<double> seconds_per_epoch;  // median over all epochs of all seeds
  std::string baseline;                     // empty for the baseline itself
  std::optional<Difference> difference;     // in final accuracy
  std::string no_difference;                // why there is none
};

// The test accuracy of the best epoch of those that the run has, at least one: the one with the best validation
// accuracy where there is one, else with the best test accuracy, which flatters.
[[nodiscard]] double best_accuracy(const Trial& trial);

// Whether best epochs were chosen on validation images.
[[nodiscard]] bool has_validation(const Run& run);

[[nodiscard]] std::vector<Row> summarize(const Run& run);

// RFC 4180, with '\n' at each line's end.
[[nodiscard]] std::string summary_csv(const Run& run);

// A table for the terminal that is Markdown as well, and the lines that explain it.
[[nodiscard]] std::string summary_table(const Run& run);

// What the comparison shows, in words: every arm that has a baseline is named once.
[[nodiscard]] std::string conclusion(const Run& run);

}  // namespace anact::report
