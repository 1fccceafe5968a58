#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace anact::cli {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr auto kPlainLine = std::chrono::seconds(10);

std::size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string bar(double share) {
  constexpr int kCells = 12;
  const int full = std::clamp(static_cast<int>(share * kCells), 0, kCells);
  std::string cells(kCells, '.');
  cells.replace(0, static_cast<std::size_t>(full), static_cast<std::size_t>(full), '#');
  return cells;
}

}  // namespace

std::string minutes(double seconds) {
  char text[32];
  const auto whole = static_cast<long>(seconds + 0.5);
  std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

StatusLine::StatusLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void StatusLine::show(std::string text) {
  if (terminal_) {
    // A line that wraps could not be redrawn in place.
    text.resize(std::min(text.size(), terminal_width() - 1));
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    drawn_ = true;
  } else {
    const auto now = Clock::now();
    if (now - last_ < kPlainLine) return;
    last_ = now;
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
}

void StatusLine::clear() {
  if (drawn_) std::fprintf(stderr, "\r\033[K");
  drawn_ = false;
  std::fflush(stderr);
}

double StatusLine::elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

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
  char text[256];
  // What matters most comes first: a narrow terminal shows the beginning only.
  std::snprintf(text, sizeof text,
                "[%s] %3.0f%% ETA %s %.0f steps/s loss %.4f test %.1f%% run %zu/%zu %s seed %lld epoch %lld/%lld",
                bar(share).c_str(), 100 * share, minutes(left).c_str(), static_cast<double>(steps_) / elapsed,
                progress.loss, 100 * progress.test_accuracy, progress.run + 1, progress.runs, progress.arm.c_str(),
                static_cast<long long>(progress.seed), static_cast<long long>(progress.epoch),
                static_cast<long long>(progress.epochs));
  line_.show(text);
}

void ProgressBar::clear() { line_.clear(); }

void ProgressBar::run_ended(const train::Progress& progress, const train::RunResult& result) {
  clear();
  const auto head = [&] {
    char text[128];
    std::snprintf(text, sizeof text, "%3zu/%zu  %-16s seed %lld ", progress.run + 1, progress.runs, result.arm.c_str(),
                  static_cast<long long>(result.seed));
    return std::string(text);
  }();
  if (result.diverged) {
    std::fprintf(stderr, "%s DIVERGED at %s\n", head.c_str(), result.divergence.c_str());
  } else {
    std::fprintf(stderr, "%s test accuracy %5.1f%%  loss %.4f  %.1f s\n", head.c_str(), 100 * result.test_accuracy,
                 result.test_loss, result.seconds);
  }
}

}  // namespace anact::cli
