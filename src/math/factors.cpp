// The formulas of normalization.h. CUDA compiles this file too, and so it has none but numbers.

#include <algorithm>
#include <cmath>
#include <limits>

#include "anact/normalization.h"

namespace anact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

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
      break;
  }
  return 1;
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

}  // namespace anact
