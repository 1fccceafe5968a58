#pragma once

namespace std {

// Those of the device, for float and double.
using ::abs;
using ::copysign;
using ::cosh;
using ::fma;
using ::pow;
using ::sqrt;
using ::tanh;

constexpr bool isfinite(double value) { return value - value == 0; }
constexpr bool isinf(double value) { return value == value && !isfinite(value); }

}  // namespace std
