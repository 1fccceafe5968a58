#include "anact/normalization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "math/names.h"

namespace anact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The names of each enumeration, in its order.
constexpr std::array<std::string_view, 5> kSolutionNames{"exact", "compromise", "forward", "backward", "geometric"};
constexpr std::array<std::string_view, 3> kTargetNames{"damped", "input", "unit"};
constexpr std::array<std::string_view, 2> kGainNames{"activation", "output"};
constexpr std::array<std::string_view, 4> kSourceNames{"previous", "running", "batch", "fixed"};

template <typename Enum, std::size_t N>
constexpr std::array<Enum, N> all(const std::array<std::string_view, N>&) {
  std::array<Enum, N> values{};
  for (std::size_t i = 0; i < N; ++i) values[i] = static_cast<Enum>(i);
  return values;
}
constexpr auto kSolutions = all<Solution>(kSolutionNames);
constexpr auto kTargets = all<Target>(kTargetNames);
constexpr auto kGains = all<Gain>(kGainNames);
constexpr auto kSources = all<StatisticsSource>(kSourceNames);

template <typename Enum, std::size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : "unknown";
}

template <typename Enum, std::size_t N>
Enum parse_name(const std::array<std::string_view, N>& names, std::string_view what, std::string_view text) {
  const auto found = std::ranges::find(names, text);
  if (found != names.end()) return static_cast<Enum>(found - names.begin());
  throw std::invalid_argument(unknown_name(what, text, names));
}

// E[g^2] of the g whose gain `forward` is: f, or f less its mean.
double forward_moment(const Statistics& statistics, const NormalizationOptions& options) {
  const double mean = statistics.output_mean;
  const bool subtract = options.gain == Gain::output && options.centre;
  return std::max(0.0, subtract ? statistics.output_square - mean * mean : statistics.output_square);
}

// numerator / denominator for numbers that are not negative, with 0 / 0 as `indeterminate`.
double divide(double numerator, double denominator, double indeterminate) {
  if (denominator > 0) return numerator / denominator;
  return numerator > 0 ? kInfinity : indeterminate;
}

}  // namespace

Gains gains(const Statistics& statistics, const NormalizationOptions& options) {
  return {divide(forward_moment(statistics, options), std::max(0.0, statistics.input_variance), 0),
          std::max(0.0, statistics.backward_gain)};
}

double target_moment(Target target, double input_variance) {
  switch (target) {
    case Target::damped:
      return std::pow(input_variance, kDamping);
    case Target::input:
      return input_variance;
    case Target::unit:
      return 1;
  }
  throw std::invalid_argument("target_moment: not a target");
}

double lambda(const Statistics& statistics, const NormalizationOptions& options) {
  const double variance = std::max(0.0, statistics.input_variance);
  const double slope = std::max(0.0, statistics.backward_gain);
  const double target = target_moment(options.target, variance);
  // The reciprocals of the gains. A zero gain has an infinite one, whatever stands above it.
  const double forward = divide(target, forward_moment(statistics, options), kInfinity);
  // For `input` the variance cancels, 0 / 0 too.
  const double backward =
      options.target == Target::input ? divide(1, slope, kInfinity) : divide(target, variance * slope, kInfinity);

  double factor = 1;
  switch (options.solution) {
    case Solution::compromise:
      factor = std::sqrt(0.5 * forward + 0.5 * backward);
      break;
    case Solution::forward:
      factor = std::sqrt(forward);
      break;
    case Solution::backward:
    case Solution::exact:
      factor = std::sqrt(backward);
      break;
    case Solution::geometric:
      // Not 0 times infinity: a zero gain decides.
      factor =
          std::isinf(forward) || std::isinf(backward) ? kInfinity : std::sqrt(std::sqrt(forward) * std::sqrt(backward));
      break;
  }
  return std::clamp(factor, options.lambda_min, options.lambda_max);
}

double output_shift(const Statistics& statistics, const NormalizationOptions& options) {
  if (options.solution != Solution::exact) return 0;
  const double target = target_moment(options.target, std::max(0.0, statistics.input_variance));
  const double scale = lambda(statistics, options);
  const double mean = statistics.output_mean;
  const double spread = std::max(0.0, statistics.output_square - mean * mean);
  return -std::sqrt(std::max(0.0, target - scale * scale * spread));
}

Factors factors(const Statistics& statistics, double alpha, const NormalizationOptions& options) {
  Factors result;
  result.scale = lambda(statistics, options) + kAlphaRange * std::tanh(alpha);
  result.centre = options.centre ? statistics.output_mean : 0;
  result.offset = output_shift(statistics, options) - result.scale * result.centre;
  result.scale_slope = scale_slope(alpha);
  return result;
}

double scale_slope(double alpha) {
  // 1 / cosh^2 keeps the digits that 1 - tanh^2 loses.
  const double cosh = std::cosh(alpha);
  return kAlphaRange / cosh / cosh;
}

void validate(const NormalizationOptions& options) {
  if (!(options.lambda_min > 0 && options.lambda_min <= options.lambda_max && std::isfinite(options.lambda_max))) {
    throw std::invalid_argument("lambda bounds [" + std::to_string(options.lambda_min) + ", " +
                                std::to_string(options.lambda_max) +
                                "] are not valid; expected 0 < lambda_min <= lambda_max < inf");
  }
  if (options.solution == Solution::exact && !options.centre) {
    throw std::invalid_argument(
        "solution \"exact\" without centre is not valid: its shift takes the place of the mean; expected centre on, or "
        "another solution");
  }
}

std::string_view to_string(Solution value) { return name_of(kSolutionNames, value); }
std::string_view to_string(Target value) { return name_of(kTargetNames, value); }
std::string_view to_string(Gain value) { return name_of(kGainNames, value); }
std::string_view to_string(StatisticsSource value) { return name_of(kSourceNames, value); }

Solution parse_solution(std::string_view text) { return parse_name<Solution>(kSolutionNames, "solution", text); }
Target parse_target(std::string_view text) { return parse_name<Target>(kTargetNames, "target", text); }
Gain parse_gain(std::string_view text) { return parse_name<Gain>(kGainNames, "gain", text); }
StatisticsSource parse_statistics_source(std::string_view text) {
  return parse_name<StatisticsSource>(kSourceNames, "statistics source", text);
}

std::span<const Solution> all_solutions() { return kSolutions; }
std::span<const Target> all_targets() { return kTargets; }
std::span<const Gain> all_gains() { return kGains; }
std::span<const StatisticsSource> all_statistics_sources() { return kSources; }

}  // namespace anact
