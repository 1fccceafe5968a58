// How far a run was from the normalization property.
#pragma once

#include <span>

#include "anact/layer_record.h"

namespace anact::study {

// Means of |log|, over the layers of each measured step, then over the steps.
struct Distance {
  double forward_property = kNotMeasured;   // |log lambda^2 rho|, over activations
  double backward_property = kNotMeasured;  // |log lambda^2 rho'|
  // From one weighted layer to the next, weights and all; the property of the whole layer (docs/math.md, section 10).
  double forward_growth = kNotMeasured;   // |log| of the ratio of the outputs' second moments
  double backward_growth = kNotMeasured;  // |log| of the ratio of the gradients' with respect to the outputs
};

// What is not finite or 0 (a dead layer, a step that exploded) is left out; not measured when nothing is left.
[[nodiscard]] Distance distance_of(std::span<const LayerRecord> records);

}  // namespace anact::study
