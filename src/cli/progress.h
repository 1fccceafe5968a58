// Live progress of a comparison on standard error.
#pragma once

#include <chrono>
#include <cstddef>

#include "train/compare.h"

namespace anact::cli {

// A bar that is redrawn in place when standard error is a terminal, plain lines when it is not.
class ProgressBar : public train::CompareObserver {
 public:
  ProgressBar();
  void step(const train::Progress& progress) override;
  void run_ended(const train::Progress& progress, const train::RunResult& result) override;
  // Takes the bar off the terminal, so that what follows starts on a clean line.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const train::Progress& progress);

  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  std::int64_t steps_ = 0;  // of all runs so far
  bool drawn_ = false;
};

}  // namespace anact::cli
