// The operators in plain ATen: every activation, type, layout and device. What the fast versions are tested against,
// and what runs where there is none.
#pragma once

#include "ops/arguments.h"

namespace anact::ops::fallback {

// f(x) and f'(x), differentiable almost everywhere. x is float32 or float64.
[[nodiscard]] at::Tensor value(const Activation& activation, const at::Tensor& x);
[[nodiscard]] at::Tensor derivative(const Activation& activation, const at::Tensor& x);

// As the operators of the same names.
ForwardResult forward(ANACT_FORWARD_PARAMETERS);
BackwardResult backward(ANACT_BACKWARD_PARAMETERS);
void update_statistics(ANACT_UPDATE_PARAMETERS);

// backward as a differentiable function of grad, input and alpha, for double backward.
BackwardResult backward_differentiable(ANACT_BACKWARD_PARAMETERS);

}  // namespace anact::ops::fallback
