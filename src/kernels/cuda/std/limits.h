#pragma once

#include <bit>

namespace std {

template <class T>
struct numeric_limits;

template <>
struct numeric_limits<float> {
  static constexpr float max() { return 0x1.fffffep127F; }
  static constexpr float min() { return 0x1p-126F; }
};

template <>
struct numeric_limits<double> {
  static constexpr double infinity() { return bit_cast<double>(0x7FF0'0000'0000'0000); }
  static constexpr double quiet_NaN() { return bit_cast<double>(0x7FF8'0000'0000'0000); }
};

}  // namespace std
