// Unevaluated sums of two doubles, for arguments whose rounding error a steep function would magnify.
#pragma once

#include <cmath>

namespace anact::detail {

struct DoubleDouble {
  double hi = 0;
  double lo = 0;
};

// The exact sum (Knuth).
inline DoubleDouble two_sum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

// The exact product, unless it underflows.
inline DoubleDouble two_product(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

inline DoubleDouble multiply(DoubleDouble a, double b) {
  const DoubleDouble product = two_product(a.hi, b);
  return two_sum(product.hi, std::fma(a.lo, b, product.lo));
}

inline DoubleDouble multiply(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble product = two_product(a.hi, b.hi);
  return two_sum(product.hi, product.lo + (a.hi * b.lo + a.lo * b.hi));
}

inline DoubleDouble add(DoubleDouble a, double b) {
  const DoubleDouble sum = two_sum(a.hi, b);
  return two_sum(sum.hi, sum.lo + a.lo);
}

}  // namespace anact::detail
