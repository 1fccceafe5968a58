// Live progress of a training on standard error.
#pragma once

#include <cstdint>
#include <string>

#include "cli/status_line.h"
#include "train/observer.h"

namespace anact::cli {

// A bar that follows a training, and a line for each run that ended and each epoch that took long.
class ProgressBar : public train::Observer {
 public:
  void step(const train::Progress& progress) override;
  void epoch_ended(const std::string& line, double seconds) override;
  void run_ended(const train::Progress& progress, const train::RunResult& result) override;
  void clear();

 private:
  StatusLine line_;
  double drawn_at_ = 0;     // in seconds of line_
  std::int64_t steps_ = 0;  // of all runs so far
};

}  // namespace anact::cli
