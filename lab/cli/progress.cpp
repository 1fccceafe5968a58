#include "cli/progress.h"

#include <cstdio>

#include "text/words.h"

namespace anact::cli {
namespace {

constexpr double kRedrawSeconds = 0.1;
// Shorter epochs would drown the terminal; log.txt has them all.
constexpr double kLongEpoch = 1;

}  // namespace

void ProgressBar::step(const train::Progress& progress) {
  ++steps_;
  const double elapsed = line_.elapsed();
  if (elapsed - drawn_at_ < kRedrawSeconds) return;
  drawn_at_ = elapsed;
  // Runs that diverged took fewer steps than planned, so the share counts runs and the speed counts steps.
  const double share =
      (static_cast<double>(progress.run) + static_cast<double>(progress.step) / static_cast<double>(progress.steps)) /
      static_cast<double>(progress.runs);
  const double left = share > 0 ? elapsed / share - elapsed : 0;
  // What matters most comes first: a narrow terminal shows the beginning only.
  line_.show(
      text::format("[%s] %3.0f%% ETA %s %.0f steps/s loss %.4f test %.1f%% run %zu/%zu %s seed %lld epoch %lld/%lld",
                   bar(share).c_str(), 100 * share, minutes(left).c_str(), static_cast<double>(steps_) / elapsed,
                   progress.loss, 100 * progress.test_accuracy, progress.run + 1, progress.runs, progress.arm.c_str(),
                   static_cast<long long>(progress.seed), static_cast<long long>(progress.epoch),
                   static_cast<long long>(progress.epochs)));
}

void ProgressBar::epoch_ended(const std::string& line, double seconds) {
  if (seconds < kLongEpoch) return;
  clear();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void ProgressBar::clear() { line_.clear(); }

void ProgressBar::run_ended(const train::Progress& progress, const train::RunResult& result) {
  clear();
  const auto head = text::format("%3zu/%zu  %-16s seed %lld ", progress.run + 1, progress.runs, result.arm.c_str(),
                                 static_cast<long long>(result.seed));
  if (result.diverged) {
    std::fprintf(stderr, "%s DIVERGED at %s\n", head.c_str(), result.divergence.c_str());
  } else {
    std::fprintf(stderr, "%s test accuracy %5.1f%%  loss %.4f  %.1f s\n", head.c_str(), 100 * result.test_accuracy,
                 result.test_loss, result.seconds);
  }
}

}  // namespace anact::cli
