// Written by coefficients.py; do not edit.
//
// With P and Q the polynomials of a pair Numerator, Denominator, constant term first:
//   ExpTail     exp(r) = 1 + r + r^2 P(r) for |r| <= ln 2 / 2
//   Log1p       log(1 + x) = x - x^2 P(x) / Q(x) for x in [0, 1]
//   NormalTail  Phi(-t) = exp(-t^2 / 2) P(t) / Q(t) for t >= 0, Phi the standard normal distribution function
//   Tanhshrink  x - tanh(x) = x^3 P(x^2) / Q(x^2) for |x| <= sqrt(2)
// Ln2, and the constants of gelu's approximation by tanh, are sums of two numbers.
#pragma once

#include <array>

namespace anact::kernels {

template <typename T>
struct Coefficients;

template <>
struct Coefficients<float> {
  static constexpr std::array<float, 2> kLn2{0.693145752F, 1.42860677e-6F};
  // Error relative to exp(r) 8.0e-9.
  static constexpr std::array<float, 5> kExpTail{0.5F, 0.16666577F, 0.0416665546F, 0.00836317905F, 0.00139261836F};
  // Relative error 2.9e-8.
  static constexpr std::array<float, 3> kLog1pNumerator{0.499999985F, 0.455030938F, 0.0739955224F};
  static constexpr std::array<float, 4> kLog1pDenominator{1.0F, 1.57672637F, 0.699171106F, 0.0775879228F};
  // Relative error 6.2e-9.
  static constexpr std::array<float, 5> kNormalTailNumerator{0.500000002F, 0.434757464F, 0.180576754F, 0.0397260612F,
                                                             0.00397853406F};
  static constexpr std::array<float, 6> kNormalTailDenominator{1.0F,         1.66739975F,   1.19154272F,
                                                               0.462443171F, 0.0995859827F, 0.00997256025F};
  // Relative error 3.6e-8.
  static constexpr std::array<float, 2> kTanhshrinkNumerator{0.333333321F, 0.0145994203F};
  static constexpr std::array<float, 3> kTanhshrinkDenominator{1.0F, 0.443797674F, 0.0156160044F};
  static constexpr std::array<float, 2> kGeluTanhRate{1.59576797F, 1.1467522e-6F};
  static constexpr std::array<float, 2> kGeluTanhCubic{0.0713548139F, 2.39883247e-9F};
};

template <>
struct Coefficients<double> {
  static constexpr std::array<double, 2> kLn2{0.69314718055989033, 5.4979230187083712e-14};
  // Error relative to exp(r) 1.8e-19.
  static constexpr std::array<double, 11> kExpTail{0.5,
                                                   0.16666666666666671,
                                                   0.04166666666666667,
                                                   0.0083333333333261351,
                                                   0.0013888888888883748,
                                                   1.9841269874820625e-4,
                                                   2.4801587325547741e-5,
                                                   2.7557255400206424e-6,
                                                   2.7557273643110295e-7,
                                                   2.5105217004720745e-8,
                                                   2.0914686968086877e-9};
  // Relative error 1.3e-18.
  static constexpr std::array<double, 7> kLog1pNumerator{0.5,
                                                         1.3703652700310574,
                                                         1.4115299274977496,
                                                         0.67895908601827022,
                                                         0.15385673979673668,
                                                         0.014495917739318247,
                                                         3.8891149470096779e-4};
  static constexpr std::array<double, 8> kLog1pDenominator{1.0,
                                                           3.407397206728781,
                                                           4.5946579928147228,
                                                           3.1173248972142862,
                                                           1.118226630702558,
                                                           0.20359222112289303,
                                                           0.016312009703437711,
                                                           3.9325818271365344e-4};
  // Relative error 1.6e-18.
  static constexpr std::array<double, 11> kNormalTailNumerator{0.5,
                                                               0.82542211305808653,
                                                               0.67565073163639526,
                                                               0.35425303935240862,
                                                               0.13051146811385569,
                                                               0.03513905108997411,
                                                               0.0069921884964816018,
                                                               0.001016527050570545,
                                                               1.0371168083985077e-4,
                                                               6.7511437462367346e-6,
                                                               2.1545069925836694e-7};
  static constexpr std::array<double, 12> kNormalTailDenominator{1.0,
                                                                 2.4487287869190385,
                                                                 2.8051043559490177,
                                                                 1.9882526625655567,
                                                                 0.97113449158110002,
                                                                 0.34415601290122415,
                                                                 0.090594749559844251,
                                                                 0.017785703898741189,
                                                                 0.0025649780549175345,
                                                                 2.605066864136311e-4,
                                                                 1.6922607800449508e-5,
                                                                 5.4005481454989387e-7};
  // Relative error 9.9e-19.
  static constexpr std::array<double, 4> kTanhshrinkNumerator{0.33333333333333333, 0.023496944880617298,
                                                              3.7148857159722216e-4, 1.2575715132369092e-6};
  static constexpr std::array<double, 5> kTanhshrinkDenominator{1.0, 0.47049083464185183, 0.027406037666771192,
                                                                3.9994682864907043e-4, 1.2858822663802323e-6};
  static constexpr std::array<double, 2> kGeluTanhRate{1.5957691216057128, 1.7885919910836427e-14};
  static constexpr std::array<double, 2> kGeluTanhCubic{0.071354816272600249, -6.175149918155315e-19};
};

}  // namespace anact::kernels
