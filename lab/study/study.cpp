#include "study/study.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include "io/atomic_file.h"
#include "io/file_lock.h"
#include "report/run.h"
#include "study/distance.h"
#include "train/experiment.h"
#include "train/probing.h"

namespace anact::study {
namespace {

constexpr const char* kRows = "rows.csv";
constexpr const char* kWork = "work";

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw std::runtime_error("cannot " + std::string(what) + " '" + path.string() + "': " + std::strerror(errno));
}

// The file's size without what follows its last end of line.
off_t whole_lines(int descriptor, const std::filesystem::path& path) {
  off_t size = ::lseek(descriptor, 0, SEEK_END);
  if (size < 0) fail(path, "read");
  char last = '\n';
  for (; size > 0; --size) {
    if (::pread(descriptor, &last, 1, size - 1) != 1) fail(path, "read");
    if (last == '\n') break;
  }
  return size;
}

void write_at(int descriptor, off_t offset, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const auto written = ::pwrite(descriptor, text.data(), text.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path, "write");
    text.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
}

report::StudyRow row_of(const PlannedRun& planned, const std::filesystem::path& folder, std::int64_t classes,
                        const Distance& distance) {
  const auto run = report::load_run(folder);
  const auto& trial = run.trials.front();
  report::StudyRow row;
  row.experiment = planned.experiment->name;
  row.arm = planned.arm;
  row.setting = planned.setting;
  row.seed = static_cast<std::uint64_t>(planned.seed);
  row.key = planned.key;
  row.classes = classes;
  row.diverged = trial.outcome == report::Outcome::diverged;
  double area = 0;
  for (const auto& epoch : trial.epochs) {
    if (epoch.epoch == 0) continue;
    ++row.epochs;
    row.train_losses.push_back(epoch.train_loss.value_or(kNotMeasured));
    row.train_accuracies.push_back(epoch.train_accuracy.value_or(kNotMeasured));
    if (epoch.validation_accuracy) row.validation_accuracies.push_back(*epoch.validation_accuracy);
    row.test_accuracies.push_back(epoch.test_accuracy);
    row.seconds += epoch.seconds.value_or(0);
    area += epoch.train_loss.value_or(0);
  }
  if (!row.diverged) {
    const auto& last = trial.epochs.back();
    row.train_loss = last.train_loss.value_or(report::kUnknown);
    row.train_accuracy = last.train_accuracy.value_or(report::kUnknown);
    row.validation_accuracy = last.validation_accuracy.value_or(report::kUnknown);
    row.test_loss = last.test_loss;
    row.test_accuracy = last.test_accuracy;
  }
  const auto epochs = planned.config.epochs;
  area += static_cast<double>(epochs - row.epochs) * std::log(static_cast<double>(classes));
  row.loss_area = area / static_cast<double>(epochs);
  if (planned.experiment->measure_every > 0) {
    // Of which no finite part was measured: the signal was lost, or is so large that its square is infinite.
    const auto measured = [](double value) {
      return std::isfinite(value) ? value : std::numeric_limits<double>::infinity();
    };
    row.forward_property = measured(distance.forward_property);
    row.backward_property = measured(distance.backward_property);
    row.forward_growth = measured(distance.forward_growth);
    row.backward_growth = measured(distance.backward_growth);
  }
  for (const auto& [name, value] : run.environment) {
    if (name == "cpu") row.processor = value;
    if (name == "instruction_set") row.instruction_set = value;
    if (name == "anact") row.version = value;
    if (name == "threads") row.threads = std::stoll(value);
  }
  return row;
}

// Passes on what happens, and counts the steps.
class StepCounter : public train::Observer {
 public:
  explicit StepCounter(train::Observer& next) : next_(next) {}
  void run_started(const torch::nn::Module& network, const train::Progress& progress) override {
    next_.run_started(network, progress);
  }
  void step(const train::Progress& progress) override {
    steps = progress.step;
    next_.step(progress);
  }
  void epoch_ended(const std::string& line, double seconds) override { next_.epoch_ended(line, seconds); }
  void run_ended(const train::Progress& progress, const train::RunResult& result) override {
    steps = progress.step;
    next_.run_ended(progress, result);
  }

  std::int64_t steps = 0;

 private:
  train::Observer& next_;
};

// Trains into `folder`, or goes on there. False when stopped.
bool train_run(const PlannedRun& planned, const data::Dataset& dataset, const std::filesystem::path& folder,
               train::Observer& observer, const std::atomic<bool>& stop, Distance& distance) {
  const auto begin = [&](train::Observer& watching) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    return train::train(planned.config, {.command = "study", .arguments = {}}, dataset, folder, watching, stop);
  };
  if (planned.experiment->measure_every > 0) {
    train::ProbingObserver probing(
        observer, nn::VarianceProbeOptions().every(planned.experiment->measure_every).predict(false),
        [&](const train::RunResult&, const std::vector<LayerRecord>& records) { distance = distance_of(records); });
    return begin(probing);
  }
  if (std::filesystem::exists(folder / "checkpoints")) {
    try {
      return train::resume(dataset, folder, observer, stop);
    } catch (const std::runtime_error&) {
      // What is left of an earlier attempt cannot be gone on with: the run begins anew.
    }
  }
  return begin(observer);
}

}  // namespace

std::vector<report::StudyRow> load_rows(const std::filesystem::path& folder) {
  const auto path = folder / kRows;
  if (!std::filesystem::exists(path)) return {};
  return report::parse_study_rows(io::read_file(path), path.string());
}

void append_row(const std::filesystem::path& folder, const report::StudyRow& row) {
  const auto path = folder / kRows;
  const auto lock = io::FileLock::take(path, true);
  const auto size = whole_lines(lock->descriptor(), path);
  try {
    if (::ftruncate(lock->descriptor(), size) != 0) fail(path, "write");
    write_at(lock->descriptor(), size, (size == 0 ? report::study_header() : "") + report::to_csv(row), path);
    if (::fsync(lock->descriptor()) != 0) fail(path, "write");
  } catch (const std::runtime_error&) {
    (void)!::ftruncate(lock->descriptor(), size);
    throw;
  }
}

std::vector<report::StudyRow> rows_of(const Plan& plan, const std::vector<report::StudyRow>& rows) {
  std::map<std::string, const report::StudyRow*, std::less<>> known;
  for (const auto& row : rows) known.emplace(row.key, &row);
  std::vector<report::StudyRow> result;
  for (const auto& run : planned_runs(plan, rows)) {
    const auto found = known.find(run.key);
    if (found == known.end()) continue;
    auto& row = result.emplace_back(*found->second);
    row.experiment = run.experiment->name;
    row.arm = run.arm;
  }
  return result;
}

std::vector<Remaining> remaining(const Plan& plan, const std::vector<report::StudyRow>& rows) {
  const auto own = rows_of(plan, rows);
  std::vector<Remaining> result;
  for (const auto& experiment : plan.experiments) {
    Remaining one{.experiment = experiment.name, .done = 0, .planned = run_count(experiment, rows), .seconds = 0};
    for (const auto& row : own) {
      if (row.experiment != experiment.name) continue;
      ++one.done;
      one.seconds += row.seconds;
    }
    one.seconds = one.done == one.planned ? 0
                  : one.done == 0
                      ? report::kUnknown
                      : one.seconds / static_cast<double>(one.done) * static_cast<double>(one.planned - one.done);
    result.push_back(one);
  }
  return result;
}

bool work(const Plan& plan, const std::filesystem::path& folder, StudyObserver& observer,
          const std::atomic<bool>& stop) {
  const auto work_folder = folder / kWork;
  std::filesystem::create_directories(work_folder);
  const Experiment* opened = nullptr;
  data::Dataset dataset;
  while (!stop) {
    const auto rows = load_rows(folder);
    std::set<std::string, std::less<>> known;
    for (const auto& row : rows) known.insert(row.key);
    std::vector<PlannedRun> missing;
    std::size_t done = 0, planned = 0;
    for (const auto& experiment : plan.experiments) planned += run_count(experiment, rows);
    for (auto& run : planned_runs(plan, rows)) {
      if (known.contains(run.key)) {
        ++done;
      } else {
        missing.push_back(std::move(run));
      }
    }
    if (missing.empty()) {
      std::error_code ignored;
      std::filesystem::remove(work_folder, ignored);  // fails where another process is still in it
      return true;
    }
    bool worked = false;
    // One experiment's before the plan is asked again, since that takes as long as a short run; then its arms' chosen
    // settings can be told, and come before the next experiment.
    const Experiment* experiment = nullptr;
    for (const auto& run : missing) {
      if (stop) return false;
      if (experiment != nullptr && run.experiment != experiment) break;
      const auto lock_path = work_folder / (run.key + ".lock");
      const auto lock = io::FileLock::take(lock_path, false);
      if (!lock) continue;
      worked = true;
      experiment = run.experiment;
      // Another process may have written the row between the reading and the lock.
      const auto now = load_rows(folder);
      if (std::ranges::find(now, run.key, &report::StudyRow::key) != now.end()) continue;
      const auto so_far = done + now.size() - rows.size();
      if (opened != run.experiment) {
        dataset = train::open_dataset(run.experiment->config);
        opened = run.experiment;
      }
      observer.study_run_started(run, so_far, planned);
      StepCounter counter(observer);
      Distance distance;
      const auto run_folder = work_folder / run.key;
      try {
        if (!train_run(run, dataset, run_folder, counter, stop, distance)) return false;
      } catch (const std::exception& error) {
        throw std::runtime_error("experiment '" + run.experiment->name + "', arm '" + run.arm + "': " + error.what());
      }
      auto row = row_of(run, run_folder, dataset.classes(), distance);
      row.steps = counter.steps;
      append_row(folder, row);
      std::filesystem::remove_all(run_folder);
      std::filesystem::remove(lock_path);
      observer.study_run_ended(run, row, so_far + 1, planned);
    }
    // The others have all that can be done now.
    if (!worked) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  return false;
}

}  // namespace anact::study
