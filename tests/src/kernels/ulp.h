// The error of the kernels' f and f' against the double-precision specification.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/kernels.h"

namespace anact::kernels {

// The distance in units in the last place of T at max(|exact|, floor). Below kTiny, where only the absolute error is
// bounded, 0 within that bound and infinity beyond it.
template <typename T>
inline double ulp_error(double exact, T got, double floor) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : std::numeric_limits<double>::infinity();
  const double error = std::abs(exact - static_cast<double>(got));
  if (std::abs(exact) < kTiny<T> && error < kTiny<T>) return 0;
  if (error == 0) return 0;
  // Beyond the largest finite number rounding gives an infinity.
  constexpr double kLargest = std::numeric_limits<T>::max();
  if (std::abs(exact) >= kLargest && std::abs(got) >= kLargest && std::signbit(exact) == std::signbit(got)) return 0;
  const double size = std::max({std::abs(exact), floor, static_cast<double>(std::numeric_limits<T>::min())});
  // One over the power of two below `size`, from its exponent's bits: ilogb and ldexp would take most of a table's
  // time.
  constexpr std::uint64_t kExponent = 0x7FF0'0000'0000'0000;
  const auto inverse = std::bit_cast<double>(0x7FE0'0000'0000'0000U - (std::bit_cast<std::uint64_t>(size) & kExponent));
  return error * inverse * static_cast<double>(std::uint64_t{1} << (std::numeric_limits<T>::digits - 1));
}

// f and f' as the kernels compute them: the identity map, and a gradient of 1.
template <typename T>
struct Outputs {
  std::vector<T> value;
  std::vector<T> slope;
};

template <typename T>
Outputs<T> evaluate(const Activation& activation, const std::vector<T>& x, T one) {
  Outputs<T> result{std::vector<T>(x.size()), std::vector<T>(x.size())};
  const std::vector<T> ones(x.size(), one);
  std::vector<GradientSums> sums(block_count(x.size()));
  forward(activation, x.data(), x.size(), 1, 0, result.value.data(), nullptr);
  backward(activation, x.data(), ones.data(), x.size(), 1, result.slope.data(), sums.data());
  return result;
}

// The activation with its parameters as the kernels have them.
template <typename T>
Activation rounded(Activation activation) {
  for (double& parameter : activation.parameters) {
    // GCC 12 vectorizes the two conversions away.
    volatile T narrow = static_cast<T>(parameter);
    parameter = narrow;
  }
  return activation;
}

// A worst case and the input it is met at.
struct Worst {
  double ulp = 0;
  double at = 0;

  void take(double error, double x) {
    if (error > ulp) *this = {error, x};
  }
};
struct WorstErrors {
  Worst value;
  Worst slope;
};

// f and f' as the specification has them, for the kernels' parameters.
template <typename T>
Outputs<double> specified(const Activation& activation, const std::vector<T>& x) {
  const auto exact = rounded<T>(activation);
  Outputs<double> result;
  result.value.reserve(x.size());
  result.slope.reserve(x.size());
  for (const T value : x) {
    result.value.push_back(exact.value(value));
    result.slope.push_back(exact.derivative(value));
  }
  return result;
}

template <typename T>
Worst worst_error(const std::vector<T>& x, const std::vector<double>& exact, const std::vector<T>& got, double floor) {
  Worst worst;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Most are exact where the function is piecewise linear, and a table compares 2^32 of them.
    if (exact[i] != static_cast<double>(got[i])) worst.take(ulp_error(exact[i], got[i], floor), x[i]);
  }
  return worst;
}

template <typename T>
WorstErrors worst_errors(const Activation& activation, const std::vector<T>& x, const Outputs<double>& exact) {
  const Accuracy& bound = accuracy(activation.kind);
  const auto outputs = evaluate(activation, x, T{1});
  return {worst_error(x, exact.value, outputs.value, bound.value_floor),
          worst_error(x, exact.slope, outputs.slope, bound.slope_floor)};
}

template <typename T>
WorstErrors worst_errors(const Activation& activation, const std::vector<T>& x) {
  return worst_errors(activation, x, specified(activation, x));
}

}  // namespace anact::kernels
