// What the kernels' sums are tested against, and how far they may be from it.
#pragma once

#include <span>
#include <type_traits>

#include "kernels/elements.h"

namespace anact::kernels {

// Half a unit in the last place of 1 as the type stores it.
template <typename T>
inline constexpr double kStorage = std::is_same_v<T, double>     ? 0x1p-53
                                   : std::is_same_v<T, float>    ? 0x1p-24
                                   : std::is_same_v<T, BFloat16> ? 0x1p-8
                                                                 : 0x1p-11;
template <typename T>
inline constexpr double kArithmetic = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;

// Half the least subnormal number, where that is not far below everything here.
template <typename T>
inline constexpr double kLeast = std::is_same_v<T, Float16> ? 0x1p-25 : 0;

// The moments by plain sums in extended precision.
struct LongMoments {
  long double mean = 0;
  long double m2 = 0;
  long double output_sum = 0;
  long double output_square_sum = 0;
  long double slope_square_sum = 0;
};
template <typename T>
LongMoments long_moments(const Activation& activation, std::span<const T> x) {
  LongMoments m;
  for (const T element : x) m.mean += widen(element);
  m.mean /= static_cast<long double>(x.size());
  for (const T element : x) {
    const long double value = widen(element);
    const long double f = activation.value(widen(element));
    const long double slope = activation.derivative(widen(element));
    m.m2 += (value - m.mean) * (value - m.mean);
    m.output_sum += f;
    m.output_square_sum += f * f;
    m.slope_square_sum += slope * slope;
  }
  return m;
}

}  // namespace anact::kernels
