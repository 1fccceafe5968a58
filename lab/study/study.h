// Works through a plan: trains the runs that have no row yet, and writes a row for each as it ends.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "report/study_rows.h"
#include "study/plan.h"
#include "train/observer.h"

namespace anact::study {

// The rows in `folder`; none where there is no rows.csv. Throws as report::parse_study_rows does.
[[nodiscard]] std::vector<report::StudyRow> load_rows(const std::filesystem::path& folder);

// Appends a row to `folder`/rows.csv, after what a killed program left of one was cut off. Several processes may do so
// at a time. Throws std::runtime_error that names the file and the system's reason; the file is then as it was.
void append_row(const std::filesystem::path& folder, const report::StudyRow& row);

// The rows that belong to the plan as it is now, under the plan's names of experiments and arms: a plan that was
// changed keeps the rows of what was not.
[[nodiscard]] std::vector<report::StudyRow> rows_of(const Plan& plan, const std::vector<report::StudyRow>& rows);

// How far a study is.
struct Remaining {
  std::string experiment;
  std::size_t done = 0;
  std::size_t planned = 0;
  double seconds = 0;  // that the missing runs will take one after another, as long as the finished ones on average;
                       // kUnknown without a finished one
};
[[nodiscard]] std::vector<Remaining> remaining(const Plan& plan, const std::vector<report::StudyRow>& rows);

// What the runs of a study tell whoever watches.
class StudyObserver : public train::Observer {
 public:
  virtual void study_run_started(const PlannedRun& run, std::size_t done, std::size_t planned) = 0;
  virtual void study_run_ended(const PlannedRun& run, const report::StudyRow& row, std::size_t done,
                               std::size_t planned) = 0;
};

// Does the runs that are missing, in the plan's order; several processes may work in one folder, each on runs of its
// own. A run is in `folder`/work until its row is written. Returns whether the study is complete: false when `stop`
// became true, with the run in hand kept at its last checkpoint, where the next call goes on with it. Throws as
// train::train and data::open do, naming the experiment.
[[nodiscard]] bool work(const Plan& plan, const std::filesystem::path& folder, StudyObserver& observer,
                        const std::atomic<bool>& stop);

}  // namespace anact::study
