// The operators in plain ATen: every activation, type, layout and device. What the fast versions are tested against,
// and what runs where there is none.
#pragma once

#include <functional>

#include "anact/custom.h"
#include "ops/arguments.h"

namespace anact::ops::fallback {

// f(x) and f'(x), differentiable almost everywhere. x is float32 or float64.
[[nodiscard]] at::Tensor value(const Activation& activation, const at::Tensor& x);
[[nodiscard]] at::Tensor derivative(const Activation& activation, const at::Tensor& x);

// value and derivative of an activation, of the catalogue or of the user's own; those of the user's own throw
// c10::Error where they return no tensor or one of another shape. Throws std::invalid_argument as validate does.
struct Functions {
  CustomActivation::Function value;
  CustomActivation::Function derivative;
};
[[nodiscard]] Functions to_functions(const Activation& activation);
[[nodiscard]] Functions to_functions(const CustomActivation& activation);

// The operators of the same names for any such functions.
ForwardResult forward(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                      const Functions& functions, const ForwardConfiguration& configuration);
BackwardResult backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                        const at::Tensor& factors, const Functions& functions);
// backward as a differentiable function of grad, input and alpha, for double backward.
BackwardResult backward_differentiable(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                                       const at::Tensor& factors, const Functions& functions);

// As the dispatcher calls them.
ForwardResult forward(ANACT_FORWARD_PARAMETERS);
BackwardResult backward(ANACT_BACKWARD_PARAMETERS);
void update_statistics(ANACT_UPDATE_PARAMETERS);

}  // namespace anact::ops::fallback
