#include "anact/normalization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "anact/activation.h"

namespace anact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename Enum>
struct Name {
  Enum value;
  std::string_view name;
};

constexpr std::array<Solution, 5> kSolutions{Solution::exact, Solution::compromise, Solution::forward,
                                             Solution::backward, Solution::geometric};

constexpr std::array<Name<Solution>, 5> kSolutionNames{{{Solution::exact, "exact"},
                                                        {Solution::compromise, "compromise"},
                                                        {Solution::forward, "forward"},
                                                        {Solution::backward, "backward"},
                                                        {Solution::geometric, "geometric"}}};
constexpr std::array<Name<Target>, 3> kTargetNames{
    {{Target::damped, "damped"}, {Target::input, "input"}, {Target::unit, "unit"}}};
constexpr std::array<Name<Gain>, 2> kGainNames{{{Gain::activation, "activation"}, {Gain::output, "output"}}};
constexpr std::array<Name<StatisticsSource>, 3> kSourceNames{{{StatisticsSource::previous, "previous"},
                                                              {StatisticsSource::running, "running"},
                                                              {StatisticsSource::batch, "batch"}}};

template <typename Enum, std::size_t N>
std::string_view name_of(const std::array<Name<Enum>, N>& names, Enum value) {
  const auto found = std::ranges::find(names, value, &Name<Enum>::value);
  return found == names.end() ? "unknown" : found->name;
}

template <typename Enum, std::size_t N>
Enum parse_name(const std::array<Name<Enum>, N>& names, std::string_view what, std::string_view text) {
  const auto found = std::ranges::find(names, text, &Name<Enum>::name);
  if (found != names.end()) return found->value;
  std::vector<std::string_view> known;
  std::string list;
  for (const Name<Enum>& row : names) {
    known.push_back(row.name);
    if (!list.empty()) list += ", ";
    list += row.name;
  }
  std::string message = "unknown " + std::string(what) + " \"" + std::string(text) + "\"; expected one of " + list;
  const std::vector<std::string> nearest = nearest_names(text, known, 1);
  if (!nearest.empty()) message += " (did you mean " + nearest.front() + "?)";
  throw std::invalid_argument(message);
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
  // 1 / cosh^2 keeps the digits that 1 - tanh^2 loses.
  const double cosh = std::cosh(alpha);
  result.scale_slope = kAlphaRange / cosh / cosh;
  return result;
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

Solution parse_solution(std::string_view text) { return parse_name(kSolutionNames, "solution", text); }
Target parse_target(std::string_view text) { return parse_name(kTargetNames, "target", text); }
Gain parse_gain(std::string_view text) { return parse_name(kGainNames, "gain", text); }
StatisticsSource parse_statistics_source(std::string_view text) {
  return parse_name(kSourceNames, "statistics source", text);
}

std::span<const Solution> all_solutions() { return kSolutions; }

}  // namespace anact
