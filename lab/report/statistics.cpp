#include "report/statistics.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

namespace anact::report {

double t_quantile_975(double degrees) {
  return boost::math::quantile(boost::math::students_t_distribution<double>(degrees), 0.975);
}

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double geometric_mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

std::optional<double> interval_95(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double centre = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  const auto count = static_cast<double>(values.size());
  return t_quantile_975(count - 1) * std::sqrt(squares / (count - 1) / count);
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

bool Difference::excludes_zero() const { return interval && std::abs(mean) > *interval; }

Difference paired_difference(std::span<const double> values, std::span<const double> baseline) {
  std::vector<double> differences(values.size());
  std::transform(values.begin(), values.end(), baseline.begin(), differences.begin(), std::minus<>());
  return {mean(differences), interval_95(differences), differences.size()};
}

}  // namespace anact::report
