#include "cli/status_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "text/words.h"

namespace anact::cli {
namespace {

constexpr auto kPlainLine = std::chrono::seconds(10);

std::size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string bar(double share) {
  constexpr int kCells = 12;
  const int full = std::clamp(static_cast<int>(share * kCells), 0, kCells);
  std::string cells(kCells, '.');
  cells.replace(0, static_cast<std::size_t>(full), static_cast<std::size_t>(full), '#');
  return cells;
}

std::string minutes(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  return text::format("%ld:%02ld", whole / 60, whole % 60);
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

}  // namespace anact::cli
