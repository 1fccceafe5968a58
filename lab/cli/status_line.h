// A line that is drawn anew in its place.
#pragma once

#include <chrono>
#include <string>

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

// A bar of twelve cells, `share` of them full.
[[nodiscard]] std::string bar(double share);

}  // namespace anact::cli
