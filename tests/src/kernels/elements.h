// The element types on scalars, by plain arithmetic: what the kernels' conversions are tested against.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/kernels.h"

namespace anact::kernels {

template <typename T>
using ArithmeticOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// The shape of a 16-bit type: bits of the fraction, least exponent of a normal number, exponent's bias.
struct Format {
  int fraction;
  int least_exponent;
  int bias;
};
template <typename T>
inline constexpr Format kFormat{};
template <>
inline constexpr Format kFormat<BFloat16>{7, -126, 127};
template <>
inline constexpr Format kFormat<Float16>{10, -14, 15};

template <typename T>
ArithmeticOf<T> widen(T element) {
  if constexpr (std::floating_point<T>) {
    return element;
  } else {
    constexpr Format format = kFormat<T>;
    const int exponent = (element.bits & 0x7FFF) >> format.fraction;
    const int fraction = element.bits & ((1 << format.fraction) - 1);
    const float sign = (element.bits & 0x8000) != 0 ? -1.0F : 1.0F;
    if (exponent == 2 * format.bias + 1) {
      return sign * (fraction != 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity());
    }
    const int leading = exponent != 0 ? 1 << format.fraction : 0;
    const int scale = std::max(exponent, 1) - format.bias - format.fraction;
    return sign * std::ldexp(static_cast<float>(leading + fraction), scale);
  }
}

// To nearest, ties to even; a NaN becomes some NaN.
template <typename T>
T narrow(double value) {
  if constexpr (std::floating_point<T>) {
    return static_cast<T>(value);
  } else {
    constexpr Format format = kFormat<T>;
    const int infinity = (2 * format.bias + 1) << format.fraction;
    const int sign = std::signbit(value) ? 0x8000 : 0;
    if (std::isnan(value)) return {static_cast<std::uint16_t>(infinity + 1)};
    if (std::isinf(value)) return {static_cast<std::uint16_t>(sign + infinity)};
    const double size = std::abs(value);
    const int exponent = size == 0 ? format.least_exponent : std::max(std::ilogb(size), format.least_exponent);
    const int units = static_cast<int>(std::nearbyint(std::ldexp(size, format.fraction - exponent)));
    // A leading one counts as one step of the exponent, and so does a rounding up past the last fraction.
    const int bits = ((exponent - format.least_exponent) << format.fraction) + units;
    return {static_cast<std::uint16_t>(sign + std::min(bits, infinity))};
  }
}

template <typename T>
std::vector<T> narrow(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float value : values) result.push_back(narrow<T>(value));
  return result;
}

template <typename T>
auto bits_of(T element) {
  if constexpr (std::floating_point<T>) {
    return std::bit_cast<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>(element);
  } else {
    return element.bits;
  }
}

template <typename T>
auto bits_of(const std::vector<T>& elements) {
  std::vector<decltype(bits_of(T()))> result;
  for (const T element : elements) result.push_back(bits_of(element));
  return result;
}

}  // namespace anact::kernels
