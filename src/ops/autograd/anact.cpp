// Derivatives of the operators.

#include "ops/fallback/anact.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "ops/autograd/derivatives.h"

namespace anact::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool needs_gradient(const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

// Has no derivative: moments are constants to the gradient.
at::Tensor measure_autograd(const at::Tensor& input, Name activation, Parameters parameters,
                            const std::optional<at::Tensor>& unless) {
  static const auto handle = find_operator<MeasureOperator>("anact::measure");
  const at::AutoDispatchBelowADInplaceOrView below;
  return handle.call(input, activation, parameters, unless);
}

at::Tensor factors_below(const at::Tensor& alpha, const at::Tensor& output_mean, const at::Tensor& output_square,
                         const at::Tensor& input_variance, const at::Tensor& backward_gain,
                         const at::Tensor& num_batches_tracked, const std::optional<at::Tensor>& moments,
                         Name options) {
  static const auto handle = find_operator<FactorsOperator>("anact::factors");
  const at::AutoDispatchBelowADInplaceOrView below;
  return handle.call(alpha, output_mean, output_square, input_variance, backward_gain, num_batches_tracked, moments,
                     options);
}

struct FactorsFunction : public Function<FactorsFunction> {
  // Compiled autograd may look into its backward pass.
  static constexpr bool is_traceable = true;

  static at::Tensor forward(AutogradContext* context, const at::Tensor& alpha, const at::Tensor& output_mean,
                            const at::Tensor& output_square, const at::Tensor& input_variance,
                            const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked,
                            const std::optional<at::Tensor>& moments, std::string options) {
    auto map = factors_below(alpha, output_mean, output_square, input_variance, backward_gain, num_batches_tracked,
                             moments, options);
    context->save_for_backward({alpha, map});
    return map;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list result(8);
    const auto saved = context->get_saved_variables();
    if (gradients[0].defined()) result[0] = fallback::grad_alpha(gradients[0], saved[0], saved[1]);
    return result;
  }
};

at::Tensor factors_autograd(const at::Tensor& alpha, const at::Tensor& output_mean, const at::Tensor& output_square,
                            const at::Tensor& input_variance, const at::Tensor& backward_gain,
                            const at::Tensor& num_batches_tracked, const std::optional<at::Tensor>& moments,
                            Name options) {
  if (!differentiates({&alpha})) {
    return factors_below(alpha, output_mean, output_square, input_variance, backward_gain, num_batches_tracked, moments,
                         options);
  }
  return FactorsFunction::apply(alpha, output_mean, output_square, input_variance, backward_gain, num_batches_tracked,
                                moments, std::string(options));
}

TensorPair apply_below(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters,
                       bool measure) {
  static const auto handle = find_operator<ApplyOperator>("anact::apply");
  const at::AutoDispatchBelowADInplaceOrView below;
  return handle.call(input, map, activation, parameters, measure);
}

struct ApplyFunction : public Function<ApplyFunction> {
  static constexpr bool is_traceable = true;

  // The moments go out by their own way: an output without a derivative is more than compiled autograd can take.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& map,
                            std::string activation, std::vector<double> parameters, bool measure, at::Tensor* moments) {
    at::Tensor output;
    std::tie(output, *moments) = apply_below(input, map, activation, parameters, measure);
    context->save_for_backward({input, map});
    context->saved_data["activation"] = std::move(activation);
    context->saved_data["parameters"] = std::move(parameters);
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list result(6);
    if (!gradients[0].defined()) return result;
    const auto saved = context->get_saved_variables();
    const auto activation = decode_activation(context->saved_data["activation"].toStringRef(),
                                              context->saved_data["parameters"].toDoubleVector());
    std::tie(result[0], result[1]) = apply_backward(gradients[0], saved[0], saved[1], activation);
    for (const int place : {0, 1}) {
      if (!context->needs_input_grad(place)) result[place].reset();
    }
    return result;
  }
};

TensorPair apply_autograd(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters,
                          bool measure) {
  if (!differentiates({&input, &map})) return apply_below(input, map, activation, parameters, measure);
  at::Tensor moments;
  auto output = ApplyFunction::apply(input, map, std::string(activation), parameters.vec(), measure, &moments);
  return {std::move(output), std::move(moments)};
}

TensorPair apply_backward_autograd(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                                   Name activation, Parameters parameters) {
  refuse_forward_mode({&grad, &input, &map});
  if (at::GradMode::is_enabled() && (needs_gradient(grad) || needs_gradient(input) || needs_gradient(map))) {
    return fallback::apply_backward_differentiable(grad, input, map,
                                                   fallback::to_functions(decode_activation(activation, parameters)));
  }
  static const auto handle = find_operator<ApplyBackwardOperator>("anact::apply_backward");
  const at::AutoDispatchBelowADInplaceOrView below;
  return handle.call(grad, input, map, activation, parameters);
}

// Tells autograd that the buffers have changed, so that a graph that saved one of them is not used by mistake.
void update_in_place(const at::Tensor& output_mean, const at::Tensor& output_square, const at::Tensor& input_variance,
                     const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked,
                     const at::Tensor& num_skipped, const at::Tensor& moments, const at::Tensor& alpha,
                     const at::Tensor& map, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    update(running, num_skipped, moments, alpha, map, decode_options(options));
  }
  mark_updated(running, num_skipped);
}

}  // namespace

TORCH_LIBRARY_IMPL(anact, Autograd, m) {
  m.impl("measure", &measure_autograd);
  m.impl("factors", &factors_autograd);
  m.impl("apply", &apply_autograd);
  m.impl("apply_backward", &apply_backward_autograd);
  // Changes buffers, which take part in no graph.
  m.impl("update_", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(anact, ADInplaceOrView, m) { m.impl("update_", &update_in_place); }

}  // namespace anact::ops
