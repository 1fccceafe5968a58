// The rows of a study: one finished run each, as rows.csv holds them. docs/study.md describes the columns.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace anact::report {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// What is tuned: an arm is tried at several of them.
struct TrialSetting {
  double learning_rate = 0;
  double weight_decay = 0;

  auto operator<=>(const TrialSetting&) const = default;
};

// Numbers that a run does not have are kUnknown: accuracies on validation images where none were split off, anything
// after the divergence of one that diverged, distances that were not measured. Accuracies are fractions.
struct StudyRow {
  std::string experiment;
  std::string arm;
  TrialSetting setting;
  std::uint64_t seed = 0;
  std::string key;           // of the whole configuration, by which the plan knows its rows
  std::int64_t classes = 0;  // of the data
  bool diverged = false;
  std::int64_t epochs = 0;  // that were finished
  std::int64_t steps = 0;
  // After the last epoch.
  double train_loss = kUnknown;
  double train_accuracy = kUnknown;
  double validation_accuracy = kUnknown;
  double test_loss = kUnknown;
  double test_accuracy = kUnknown;
  // Mean training loss over the planned epochs; those that a diverged run did not reach count as untrained,
  // log(classes).
  double loss_area = kUnknown;
  // Means of |log ratio| over layers and measured steps (study/distance.h); infinity is a signal that was lost.
  double forward_property = kUnknown;
  double backward_property = kUnknown;
  double forward_growth = kUnknown;
  double backward_growth = kUnknown;
  double seconds = 0;
  std::string processor;
  std::string instruction_set;
  std::int64_t threads = 0;
  std::string version;
  // By epoch, the first one first.
  std::vector<double> train_losses;
  std::vector<double> train_accuracies;
  std::vector<double> validation_accuracies;
  std::vector<double> test_accuracies;

  bool operator==(const StudyRow&) const = default;
};

// The first line of rows.csv, with its end.
[[nodiscard]] std::string study_header();

// A row of it, with its end. parse_study_rows() reads the same setting back, other numbers to nine digits, curves to
// four.
[[nodiscard]] std::string to_csv(const StudyRow& row);

// `source` is what errors call the text. A last line without its end is what a killed program leaves, and is passed
// over. Throws std::runtime_error that names the source, the line, the column and what was expected there.
[[nodiscard]] std::vector<StudyRow> parse_study_rows(std::string_view text, std::string_view source);

// How an arm did at one setting over the seeds that have rows.
struct Tried {
  TrialSetting setting;
  std::vector<const StudyRow*> rows = {};  // by seed
  std::size_t diverged = 0;

  // Means over the rows; kUnknown when one diverged, since a mean over the survivors would hide it.
  [[nodiscard]] double validation_accuracy() const;
  [[nodiscard]] double test_accuracy() const;
};

// Of its rows, those at the first `seeds` seeds.
[[nodiscard]] Tried at_seeds(const Tried& tried, std::uint64_t first_seed, std::size_t seeds);

// The settings that `arm` was tried at in `experiment`, ascending.
[[nodiscard]] std::vector<Tried> tried(std::span<const StudyRow> rows, std::string_view experiment,
                                       std::string_view arm);

// The setting with the best mean validation accuracy over the first `seeds` seeds, of those that have all of them and
// at which none diverged; the smaller one of equals. An arm tried at one setting is judged there, with validation
// images or without. None when there is no such setting.
[[nodiscard]] std::optional<TrialSetting> choose(std::span<const Tried> tried, std::uint64_t first_seed,
                                                 std::size_t seeds);

}  // namespace anact::report
