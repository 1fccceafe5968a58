// How far a kernel's result may lie from the exact one.
#pragma once

namespace anact::kernels {

// Bounds on the error of f and f' in float, in units in the last place of max(|exact|, floor), over every float. A
// floor stands where the function crosses zero and the error is that of the terms which cancel there.
//
// In double the errors are at most twice the bound plus 2, with the same floors; the terms that cancel are evaluated
// there with longer polynomials.
struct Accuracy {
  double value_ulp = 0;
  double slope_ulp = 0;
  double value_floor = 0;
  double slope_floor = 0;
};

// Below this size of the exact result only the absolute error is bounded, by this: exp(t) is cut off where it nears the
// subnormal numbers, and the activations multiply it by up to a few hundred.
template <typename T>
inline constexpr double kTiny = 0;
template <>
inline constexpr double kTiny<float> = 1e-35;
template <>
inline constexpr double kTiny<double> = 1e-303;

}  // namespace anact::kernels
