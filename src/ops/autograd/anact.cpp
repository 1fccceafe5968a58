// Gradients. The factors are constants of the step except for alpha, so the backward pass is exact.

#include "ops/fallback/anact.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/arguments.h"

namespace anact::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

ForwardResult forward_below(ANACT_FORWARD_PARAMETERS) {
  const at::AutoDispatchBelowADInplaceOrView below;
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::forward", "")
                                 .typed<ForwardResult(ANACT_FORWARD_PARAMETERS)>();
  return handle.call(ANACT_FORWARD_ARGUMENTS);
}

class ForwardFunction : public torch::autograd::Function<ForwardFunction> {
 public:
  static variable_list forward(AutogradContext* context, ANACT_FORWARD_PARAMETERS) {
    auto [output, moments, factors] = forward_below(ANACT_FORWARD_ARGUMENTS);
    context->save_for_backward({input, alpha, factors});
    context->mark_non_differentiable({moments, factors});
    context->set_materialize_grads(false);
    context->saved_data["kind"] = static_cast<std::int64_t>(decode_activation(activation, parameters).kind);
    if (!parameters.empty()) context->saved_data["parameters"] = parameters.vec();
    return {output, moments, factors};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    // One slot for each argument of forward.
    variable_list result(21);
    if (!gradients[0].defined()) return result;
    const auto saved = context->get_saved_variables();
    Activation activation{.kind = static_cast<ActivationKind>(context->saved_data["kind"].toInt())};
    if (const auto found = context->saved_data.find("parameters"); found != context->saved_data.end()) {
      const auto parameters = found->second.toDoubleVector();
      std::copy(parameters.begin(), parameters.end(), activation.parameters.begin());
    }
    auto [grad_input, grad_alpha] = ops::backward(gradients[0], saved[0], saved[1], saved[2], activation);
    result[0] = grad_input;
    result[1] = grad_alpha;
    return result;
  }
};

ForwardResult forward_autograd(ANACT_FORWARD_PARAMETERS) {
  // Without a gradient to come, the bookkeeping would cost more than a small tensor's pass.
  if (!at::GradMode::is_enabled() || !(input.requires_grad() || alpha.requires_grad())) {
    return forward_below(ANACT_FORWARD_ARGUMENTS);
  }
  const auto result = ForwardFunction::apply(ANACT_FORWARD_ARGUMENTS);
  return {result[0], result[1], result[2]};
}

BackwardResult backward_autograd(ANACT_BACKWARD_PARAMETERS) {
  const bool differentiate =
      at::GradMode::is_enabled() && (grad.requires_grad() || input.requires_grad() || alpha.requires_grad());
  if (differentiate) return fallback::backward_differentiable(ANACT_BACKWARD_ARGUMENTS);
  const at::AutoDispatchBelowADInplaceOrView below;
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::backward", "")
                                 .typed<BackwardResult(ANACT_BACKWARD_PARAMETERS)>();
  return handle.call(ANACT_BACKWARD_ARGUMENTS);
}

// Tells autograd that the buffers have changed, so that a graph that saved one of them is not used by mistake.
void update_statistics_in_place(ANACT_UPDATE_PARAMETERS) {
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    ops::update_statistics(ANACT_RUNNING, num_skipped, moments,
                           {.momentum = momentum, .gate_low = gate_low, .gate_high = gate_high});
  }
  for (const auto* buffer :
       {&output_mean, &output_square, &input_variance, &backward_gain, &num_batches_tracked, &num_skipped}) {
    if (!buffer->is_inference()) buffer->unsafeGetTensorImpl()->bump_version();
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(anact, Autograd, m) {
  m.impl("forward", &forward_autograd);
  m.impl("backward", &backward_autograd);
  // Changes buffers, which take part in no graph.
  m.impl("update_statistics_", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(anact, ADInplaceOrView, m) { m.impl("update_statistics_", &update_statistics_in_place); }

}  // namespace anact::ops
