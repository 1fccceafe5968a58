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
at::Tensor measure(const at::Tensor& input, const Functions& functions);
TensorPair apply(const at::Tensor& input, const at::Tensor& map, const Functions& functions, bool measure);
TensorPair apply_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                          const Functions& functions);
// apply_backward as a differentiable function of grad, input and map, for double backward.
TensorPair apply_backward_differentiable(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                                         const Functions& functions);

// alpha's gradient, of the gradient of the map that alpha made: differentiable in both, for double backward.
at::Tensor grad_alpha(const at::Tensor& grad_map, const at::Tensor& alpha, const at::Tensor& map);

// As the dispatcher calls them.
MeasureOperator measure;
FactorsOperator factors;
ApplyOperator apply;
ApplyBackwardOperator apply_backward;
UpdateOperator update;

}  // namespace anact::ops::fallback
