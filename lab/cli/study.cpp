// anact study: many trainings, by a plan, that answer one question.

#include "study/study.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "cli/status_line.h"
#include "cli/training.h"
#include "io/atomic_file.h"
#include "report/correlations.h"
#include "report/study_page.h"
#include "report/study_summary.h"
#include "text/words.h"

extern char** environ;

namespace anact::cli {
namespace {

struct StudyOptions {
  std::filesystem::path plan;
  std::filesystem::path output;
  double minutes = 0;
  int jobs = 1;
  bool status = false;
  bool helper = false;
};

std::filesystem::path folder_of(const StudyOptions& options, const study::Plan& plan) {
  return options.output.empty() ? std::filesystem::path("runs") / plan.name : options.output;
}

// A line for each run that ended, and on a terminal one that shows where the run in hand is.
class StudyProgress : public study::StudyObserver {
 public:
  void study_run_started(const study::PlannedRun& run, std::size_t done, std::size_t planned) override {
    head_ = text::format("%zu/%zu  %s  %s  lr %g  seed %lld", done + 1, planned, run.experiment->name.c_str(),
                         run.arm.c_str(), run.setting.learning_rate, static_cast<long long>(run.seed));
  }
  void step(const train::Progress& progress) override {
    line_.show(text::format("%s: epoch %lld/%lld, step %lld/%lld, loss %.4f", head_.c_str(),
                            static_cast<long long>(progress.epoch), static_cast<long long>(progress.epochs),
                            static_cast<long long>(progress.step), static_cast<long long>(progress.steps),
                            progress.loss));
  }
  void epoch_ended(const std::string& /*line*/, double /*seconds*/) override {}
  void run_ended(const train::Progress& /*progress*/, const train::RunResult& /*result*/) override {}
  void study_run_ended(const study::PlannedRun& /*run*/, const report::StudyRow& row, std::size_t /*done*/,
                       std::size_t /*planned*/) override {
    line_.clear();
    const auto result = row.diverged ? std::string("DIVERGED") : text::format("test %.2f %%", 100 * row.test_accuracy);
    std::fprintf(stderr, "%s: %s, %.1f s\n", head_.c_str(), result.c_str(), row.seconds);
  }
  void clear() { line_.clear(); }

 private:
  StatusLine line_;
  std::string head_;
};

// Sets `stop` after so many minutes, unless it is gone before.
class Deadline {
 public:
  explicit Deadline(double minutes) {
    if (minutes <= 0) return;
    thread_ = std::jthread([this, minutes](const std::stop_token& token) {
      std::unique_lock lock(mutex_);
      const auto length = std::chrono::duration<double, std::ratio<60>>(minutes);
      ended_.wait_for(lock, token, length, [] { return false; });
      if (!token.stop_requested()) passed_ = stop = true;
    });
  }
  [[nodiscard]] bool passed() const { return passed_; }

 private:
  std::atomic<bool> passed_ = false;
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::jthread thread_;
};

// Other processes of this program that work in the same folder.
class Helpers {
 public:
  Helpers(const StudyOptions& options, const std::filesystem::path& folder) {
    const auto minutes = text::shortest(options.minutes);
    for (int i = 1; i < options.jobs; ++i) {
      std::vector<std::string> arguments{"anact",    "study",         "run",       options.plan.string(),
                                         "--output", folder.string(), "--minutes", minutes,
                                         "--helper"};
      std::vector<char*> pointers;
      for (auto& argument : arguments) pointers.push_back(argument.data());
      pointers.push_back(nullptr);
      pid_t id = 0;
      const int error = ::posix_spawn(&id, "/proc/self/exe", nullptr, nullptr, pointers.data(), environ);
      if (error != 0)
        throw std::runtime_error("cannot start job " + std::to_string(i + 1) + ": " + std::strerror(error));
      ids_.push_back(id);
    }
  }
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;
  ~Helpers() {
    for (const auto id : ids_) ::kill(id, SIGTERM);
    (void)wait();
  }

  // Until all have ended; whether all ended well. They are asked to stop when this program is.
  bool wait() {
    bool well = true;
    for (; !ids_.empty(); ids_.pop_back()) {
      int status = 0;
      bool asked = false;
      for (pid_t id = 0; id != ids_.back();) {
        id = ::waitpid(ids_.back(), &status, WNOHANG);
        if (id == ids_.back()) break;
        if (id < 0 && errno != EINTR) return false;
        if (stop && !asked) {
          ::kill(ids_.back(), SIGTERM);
          asked = true;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : kFailure;
      well &= code == 0 || code == kInterrupted;
    }
    return well;
  }

 private:
  std::vector<pid_t> ids_;
};

std::string duration(double seconds) {
  if (std::isnan(seconds)) return "not known yet";
  if (seconds < 60) return text::format("%.0f s", seconds);
  if (seconds < 3600) return text::format("%.0f min", seconds / 60);
  return text::format("%.1f h", seconds / 3600);
}

void print_status(const study::Plan& plan, const std::vector<report::StudyRow>& rows, int jobs) {
  const auto parts = study::remaining(plan, rows);
  std::size_t width = 10;
  for (const auto& part : parts) width = std::max(width, part.experiment.size());
  const auto print = [&](const std::string& name, std::size_t done, std::size_t planned, double seconds) {
    std::printf("%-*s  %6zu of %6zu runs  %s\n", static_cast<int>(width), name.c_str(), done, planned,
                done == planned ? "complete" : (duration(seconds) + " to go").c_str());
  };
  std::size_t done = 0, planned = 0;
  double seconds = 0;
  for (const auto& part : parts) {
    print(part.experiment, part.done, part.planned, part.seconds / jobs);
    done += part.done;
    planned += part.planned;
    seconds += part.seconds;
  }
  print("all", done, planned, seconds / jobs);
  if (const auto others = rows.size() - std::min(rows.size(), study::rows_of(plan, rows).size()); others > 0) {
    std::printf("%zu other row(s) are of runs that the plan does not have, and are left alone\n", others);
  }
}

// Makes the tables and the page from the rows that there are.
void write_report(const study::Plan& plan, const std::filesystem::path& folder, const StudyOptions& options) {
  const auto rows = study::rows_of(plan, study::load_rows(folder));
  const auto study = study::describe(plan, rows, "anact study run " + options.plan.string());
  io::write_file(folder / "summary.csv", report::summary_csv(study, rows));
  io::write_file(folder / "study.html", report::study_html(study, rows));
  const bool measured = std::ranges::any_of(
      study.experiments, [&](const auto& experiment) { return report::has_distances(experiment, rows); });
  if (measured) io::write_file(folder / "correlations.csv", report::correlations_csv(study, rows));
  for (const auto& experiment : study.experiments) {
    std::cout << "\n" << experiment.title << "\n\n" << report::summary_table(experiment, rows);
  }
  std::cout << "\nRows:   " << (folder / "rows.csv").string() << "\nTable:  " << (folder / "summary.csv").string()
            << "\nReport: " << (folder / "study.html").string() << "\n";
}

study::Plan plan_of(const StudyOptions& options) {
  return usage([&] { return study::load_plan(options.plan); });
}

int run(const StudyOptions& options) {
  const auto plan = plan_of(options);
  const auto folder = folder_of(options, plan);
  if (options.status) {
    print_status(plan, study::load_rows(folder), options.jobs);
    return 0;
  }
  if (options.helper) ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw std::runtime_error("cannot create the folder '" + folder.string() + "': " + error.message());
  catch_signals();
  if (!options.helper) std::cerr << plan.title << "; into " << folder.string() << "\n";
  const Deadline deadline(options.minutes);
  StudyProgress progress;
  bool whole = false, well = true;
  {
    Helpers helpers(options, folder);
    try {
      whole = usage([&] { return study::work(plan, folder, progress, stop); });
    } catch (...) {
      progress.clear();
      throw;
    }
    progress.clear();
    well = helpers.wait();
  }
  if (options.helper) return whole || deadline.passed() ? 0 : kInterrupted;
  write_report(plan, folder, options);
  if (!well) throw std::runtime_error("one of the jobs failed; what it said stands above");
  if (whole) return 0;
  std::cout << (deadline.passed() ? "The time is up" : "Interrupted")
            << ": the same command goes on with the runs that are missing.\n";
  return deadline.passed() ? 0 : kInterrupted;
}

int make_report(const StudyOptions& options) {
  const auto plan = plan_of(options);
  const auto folder = folder_of(options, plan);
  if (!std::filesystem::exists(folder / "rows.csv")) {
    throw std::runtime_error("'" + folder.string() + "': no rows.csv in it; `anact study run " + options.plan.string() +
                             "` makes one");
  }
  write_report(plan, folder, options);
  return 0;
}

}  // namespace

void add_study(CLI::App& app, const std::vector<std::string>& /*arguments*/, int& exit_code) {
  auto* group =
      app.add_subcommand("study", "Train many networks by a plan, to answer one question, and write a report");
  group->require_subcommand(1);
  const auto options = std::make_shared<StudyOptions>();
  const auto add_common = [&](CLI::App& command) {
    command.add_option("PLAN", options->plan, "TOML file: what is compared with what; see docs/study.md")->required();
    command.add_option("--output", options->output,
                       "Folder of the rows and the report; default: runs/ and the plan's name");
  };
  auto* command =
      group->add_subcommand("run", "Do the runs of a plan that are missing; each leaves its row as it ends");
  add_common(*command);
  command->add_option("--minutes", options->minutes, "Stop after so many, in mid-run; 0: at the end")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--jobs", options->jobs, "Runs side by side, each a process")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_flag("--status", options->status, "Only say what is left, and how long it will take");
  command->add_flag("--helper", options->helper)->group("");  // one of the jobs
  command->callback([=, &exit_code] { exit_code = run(*options); });

  command = group->add_subcommand("report", "Make the tables and the page from the rows that there are");
  add_common(*command);
  command->callback([=, &exit_code] { exit_code = make_report(*options); });
}

}  // namespace anact::cli
