// The plan of a study: experiments, each of which trains arms at settings that are tried, over seeds. docs/study.md
// describes the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "report/study_rows.h"
#include "report/study_summary.h"
#include "train/config.h"

namespace anact::study {

struct Experiment {
  std::string name;
  std::string title;
  train::Config config;  // of each run, but for its arm, seed, learning rate and weight decay
  std::vector<std::string> arms;
  std::vector<report::TrialSetting> trials;  // what every arm is tried at, ascending
  std::int64_t first_seed = 0;
  std::int64_t seeds = 1;
  // Every setting is tried at the first `trial_seeds`; the one chosen for an arm, on the validation images, is then run
  // at the other seeds. With as many trial seeds as seeds, every setting is run at every seed.
  std::int64_t trial_seeds = 1;
  // So many arms go on after the trials, those with the best validation accuracy, with the arms that they are compared
  // with and those named in `keep`; 0: all.
  std::int64_t finalists = 0;
  std::vector<std::string> keep;
  std::int64_t measure_every = 0;  // one step in so many has its distances measured; 0: none
  double works_within = 0.05;      // of the best accuracy, where a learning rate counts as one that works
};

struct Plan {
  std::string name;  // of the file, without its ending
  std::string title;
  std::string question;
  std::vector<Experiment> experiments;
};

// Throws std::invalid_argument that names the source, the line, the column and what was expected, or the experiment and
// the setting, for a plan that cannot be run.
[[nodiscard]] Plan parse_plan(std::string_view text, std::string_view source);
// The same of a file. Throws std::runtime_error when it cannot be read.
[[nodiscard]] Plan load_plan(const std::filesystem::path& path);

struct PlannedRun {
  const Experiment* experiment = nullptr;
  std::string arm;  // its name
  report::TrialSetting setting;
  std::int64_t seed = 0;
  train::Config config;  // of this run alone
  std::string key;
};

// The runs that can be told already, in the order in which they are done: by experiment, then by seed, so that a study
// that is stopped still holds whole pairs. Runs at chosen settings follow once all trials of their experiment have
// rows.
[[nodiscard]] std::vector<PlannedRun> planned_runs(const Plan& plan, std::span<const report::StudyRow> rows);

// How many runs the experiment comes to when all is done; before its trials are done, about how many.
[[nodiscard]] std::size_t run_count(const Experiment& experiment, std::span<const report::StudyRow> rows);

// What the configuration determines the numbers by, as a digest of 12 hexadecimal digits: data, augmentation, network,
// training, the arm's own settings and the seed; not names, files, threads and outputs.
[[nodiscard]] std::string key_of(const train::Config& config);

// What the report is told of the plan. `command` repeats the study.
[[nodiscard]] report::Study describe(const Plan& plan, std::span<const report::StudyRow> rows,
                                     const std::string& command);

}  // namespace anact::study
