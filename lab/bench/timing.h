// Contenders that take turns, and what their times say.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace anact::bench {

// How long a case is measured.
struct Budget {
  int rounds = 0;      // at most
  double seconds = 0;  // a case that has taken as long ends, but not before kLeastRounds
  double turn = 0;  // seconds that a contender's turn takes at least, by repetition: the clock's own cost is lost in it
};
inline constexpr int kLeastRounds = 5;

// The 20th, 50th and 80th percentile of a time, in microseconds.
struct Times {
  double p20 = 0;
  double p50 = 0;
  double p80 = 0;
};

// A contender's time in each round, in seconds.
using Samples = std::vector<double>;

// Calls each contender twice to warm up; then in each round each of them takes its turn, in an order that rotates.
[[nodiscard]] std::vector<Samples> alternate(const std::vector<std::function<void()>>& contenders,
                                             const Budget& budget);

[[nodiscard]] Times summarize(const Samples& samples);

// Medians over the rounds of a / b, and of a - b in microseconds, each of two times taken in the same round.
[[nodiscard]] double median_ratio(const Samples& a, const Samples& b);
[[nodiscard]] double median_difference(const Samples& a, const Samples& b);

// What is measured next. Cases are counted from 0.
struct Case {
  std::size_t index = 0;
  std::size_t count = 0;
  std::string name;
};
using OnCase = std::function<void(const Case&)>;

// Both throw std::invalid_argument that names the number and its range.
void check_budget(const Budget& budget);
void check_threads(const std::vector<int>& threads);

// The header of a CSV's columns of times, and those of `times`; a comma in front of each.
[[nodiscard]] std::string csv_times_header(const std::string& contender);
[[nodiscard]] std::string csv_times(const Times& times);

}  // namespace anact::bench
