// What an activation does to a normally distributed input, by quadrature.
#pragma once

#include "anact/activation.h"
#include "anact/moments.h"

namespace anact {

// The statistics of f under N(mean, standard_deviation^2): E[f], E[f^2], standard_deviation^2 and E[f'^2].
//
// Adaptive Gauss-Kronrod quadrature on panels that end at the kinks of f, so that no panel holds a discontinuity of f
// or of f'. Relative error (for E[f], relative to E|f|) at most 1e-10 (1e-15 is typical) for |mean| <= 100 and standard
// deviations in [1e-3, 1e3], down to where the normal density underflows. The expectations of celu with a negative
// alpha, which grows exponentially, can overflow: then they are not finite.
// Throws std::invalid_argument for a mean that is not finite or a standard deviation that is not positive and finite.
[[nodiscard]] Statistics gaussian_statistics(const Activation& activation, double mean = 0,
                                             double standard_deviation = 1);

}  // namespace anact
