// A study and what its rows say of each arm: computed once, written as CSV, as a table, in words and in the page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "page/table.h"
#include "report/statistics.h"
#include "report/study_rows.h"

namespace anact::report {

struct StudyArm {
  std::string name = {};
  std::string baseline = {};    // the arm that it is compared with; empty: none
  std::string text = {};        // as the plan has it
  std::string activation = {};  // without its normalization
  bool normalized = false;
};

struct StudyExperiment {
  std::string name = {};   // as in the rows
  std::string title = {};  // for readers
  std::vector<std::pair<std::string, std::string>> settings = {};
  std::vector<StudyArm> arms = {};
  std::vector<TrialSetting> trials = {};  // every arm is tried at all of them
  std::uint64_t first_seed = 0;
  std::size_t seeds = 1;
  // Seeds at which every setting is tried; then each arm's chosen setting is run at all seeds.
  std::size_t trial_seeds = 1;
  std::size_t finalists = 0;           // how many arms go on to all seeds; 0: all
  std::vector<std::string> keep = {};  // arms that go on besides
  std::size_t planned_runs = 0;
  double works_within = 0.05;  // a rate works that comes so close to the experiment's best mean accuracy
};

struct Study {
  std::string title = {};
  std::string question = {};
  std::string command = {};  // that repeats it
  std::vector<StudyExperiment> experiments = {};
};

// Everywhere below, `rows` are those of the plan, each run once; rows of other experiments are passed over.

// The learning rates around the chosen one that work: all their tries completed, and their mean accuracy over the trial
// seeds, on validation images where there are any, is within `works_within` of the best mean of any arm.
struct RateBand {
  double low = 0;
  double high = 0;
  // Whether it reaches the end of the rates in the plan, so that it may go on beyond.
  bool at_smallest = false;
  bool at_largest = false;

  [[nodiscard]] double decades() const;
};

// The runs that an arm is judged by: those at its chosen setting, or at the only setting that the experiment has,
// though it diverged there. None without such a setting or before its first run.
[[nodiscard]] std::optional<Tried> runs_that_count(const StudyExperiment& experiment, std::span<const StudyRow> rows,
                                                   const std::string& arm);

struct ArmSummary {
  std::string arm;
  std::size_t runs = 0;
  std::size_t planned = 0;
  std::size_t diverged = 0;
  std::optional<TrialSetting> chosen = {};  // of runs_that_count()
  bool provisional = false;                 // runs are missing that may change the choice
  std::size_t seeds = 0;                    // with a run at the chosen setting
  // Test accuracy after the last epoch, the mean of these seeds; none when one diverged, since a mean over the
  // survivors would hide it.
  std::optional<double> accuracy = {};
  std::optional<double> accuracy_ci95 = {};
  std::string no_accuracy = {};  // why there is none
  std::string baseline = {};     // empty: none
  // In that accuracy, each arm at its own chosen setting, over the seeds that both have.
  std::optional<Difference> difference = {};
  bool difference_provisional = false;  // a choice of the two is
  std::string no_difference = {};       // why there is none
  std::optional<RateBand> band = {};    // at the chosen weight decay; none where the chosen rate does not work
  // The largest rate, at any weight decay, at which all trial seeds completed and each came at least half the way from
  // chance to the experiment's best mean accuracy.
  std::optional<double> largest_stable_rate = {};
  std::optional<double> seconds = {};  // median of the completed runs
};

// One an arm, in the plan's order.
[[nodiscard]] std::vector<ArmSummary> summarize(const StudyExperiment& experiment, std::span<const StudyRow> rows);

// The arms that go on to all seeds, in the plan's order: the `finalists` with the best mean validation accuracy at
// their chosen setting, the baselines of these, and those to keep; all arms where `finalists` is 0. None as long as
// trials are missing that may change it.
[[nodiscard]] std::optional<std::vector<std::string>> finalists(const StudyExperiment& experiment,
                                                                std::span<const StudyRow> rows);

// RFC 4180, with '\n' at each line's end: a row an arm of every experiment.
[[nodiscard]] std::string summary_csv(const Study& study, std::span<const StudyRow> rows);

// A row an arm, with the columns that have something to say.
[[nodiscard]] page::Table summary_rows(const StudyExperiment& experiment, std::span<const ArmSummary> arms);

// What the columns of summary_rows() are.
[[nodiscard]] std::string summary_note(const StudyExperiment& experiment);

// For the terminal, and Markdown as well.
[[nodiscard]] std::string summary_table(const StudyExperiment& experiment, std::span<const StudyRow> rows);

// What the experiment shows so far, in words: every arm that has a baseline is named once.
[[nodiscard]] std::string conclusion(const StudyExperiment& experiment, std::span<const StudyRow> rows);

}  // namespace anact::report
