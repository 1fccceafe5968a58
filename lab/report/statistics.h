// The few statistics a comparison over seeds needs.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace anact::report {

// Student's t that leaves 2.5 % above it; `degrees` of freedom from 1 up.
[[nodiscard]] double t_quantile_975(double degrees);

// Of at least one value.
[[nodiscard]] double mean(std::span<const double> values);

// exp of the mean logarithm: 0 when a value is 0, NaN when one is negative.
[[nodiscard]] double geometric_mean(std::span<const double> values);

// The half width of the mean's 95 % interval by Student's t; none for fewer than two values.
[[nodiscard]] std::optional<double> interval_95(std::span<const double> values);

// None of no values.
[[nodiscard]] std::optional<double> median(std::vector<double> values);

// How far one arm lies above another over the seeds they share.
struct Difference {
  double mean = 0;
  std::optional<double> interval;  // half width of the 95 % interval
  std::size_t pairs = 0;

  [[nodiscard]] bool excludes_zero() const;
};

// Pairs by position: both of one length, at least one.
[[nodiscard]] Difference paired_difference(std::span<const double> values, std::span<const double> baseline);

}  // namespace anact::report
