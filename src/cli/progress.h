// Live progress of a comparison on standard error.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "train/compare.h"

namespace anact::cli {

// One line of text on standard error: drawn anew in its place when that is a terminal; when it is not, a plain line
// once in a while.
class StatusLine {
 public:
  StatusLine();
  void show(std::string text);
  // Takes the line off the terminal, so that what follows starts on a clean line.
  void clear();
  // Since the line was made, in seconds.
  [[nodiscard]] double elapsed() const;

 private:
  using Clock = std::chrono::steady_clock;

  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  bool drawn_ = false;
};

// "1:05" for 65 seconds.
[[nodiscard]] std::string minutes(double seconds);

// A bar that follows a training.
class ProgressBar : public train::CompareObserver {
 public:
  void step(const train::Progress& progress) override;
  void run_ended(const train::Progress& progress, const train::RunResult& result) override;
  void clear();

 private:
  StatusLine line_;
  double drawn_at_ = 0;     // in seconds of line_
  std::int64_t steps_ = 0;  // of all runs so far
};

}  // namespace anact::cli
