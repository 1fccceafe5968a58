// The operator written out in double precision with PyTorch's own activations and autograd: what every fast path is
// held to.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "anact/activation.h"
#include "anact/normalization.h"
#include "ops/anact.h"
#include "ops/fallback/anact.h"

namespace anact::ops::test {

// What the formulas go by, as one set of options.
inline Options options_of(StatisticsSource source, const NormalizationOptions& normalization = {},
                          const UpdateOptions& update = {}) {
  Options options;
  options.statistics = source;
  options.solution = normalization.solution;
  options.target = normalization.target;
  options.gain = normalization.gain;
  options.centre = normalization.centre;
  options.bounds = {normalization.lambda_min, normalization.lambda_max};
  options.momentum = update.momentum;
  if (update.gate_low != 0 || update.gate_high != 0) options.gate = {update.gate_low, update.gate_high};
  return options;
}

// A module's pass as its operators make it, one after the other: (output, moments, map). With `known_map`, that is
// applied.
inline std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running, const Activation& activation,
    const Options& options, bool training, const std::optional<at::Tensor>& known_map = std::nullopt) {
  const bool late = !options.uses_batch(kStartBatches);
  std::optional<at::Tensor> moments;
  if (training && options.updates(true)) {
    moments = measure(input, activation, late ? std::optional(running.num_batches_tracked) : std::nullopt);
  }
  const auto map = known_map ? *known_map : factors(alpha, running, moments, options);
  auto [output, measured] = apply(input, map, activation, training && late);
  return {output, training && !late ? *moments : measured, map};
}

// The gradients of the input and of alpha.
inline std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& input,
                                                   const at::Tensor& alpha, const at::Tensor& map,
                                                   const Activation& activation) {
  const auto [grad_input, grad_map] = apply_backward(grad, input, map, activation);
  return {grad_input, fallback::grad_alpha(grad_map, alpha, map)};
}

// The plain version's factors and update.
inline at::Tensor plain_factors(const at::Tensor& alpha, const RunningStatistics& running,
                                const std::optional<at::Tensor>& moments, const Options& options) {
  return fallback::factors(alpha, running.output_mean, running.output_square, running.input_variance,
                           running.backward_gain, running.num_batches_tracked, moments, encode_options(options));
}
inline void plain_update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                         const Options& options) {
  fallback::update(running.output_mean, running.output_square, running.input_variance, running.backward_gain,
                   running.num_batches_tracked, num_skipped, moments, at::zeros({}), at::zeros({kMapSize}, at::kDouble),
                   encode_options(options));
}

// An update of which nothing need be kept.
inline void fused_update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                         const Options& options) {
  ops::update(running, num_skipped, moments, at::zeros({}), at::zeros({kMapSize}, at::kDouble), options);
}

// f(x) by the function of torch::nn::functional that users know it as; none of ours but where PyTorch has none.
inline at::Tensor torch_value(const Activation& activation, const at::Tensor& x) {
  namespace F = torch::nn::functional;
  const auto& p = activation.parameters;
  switch (activation.kind) {
    case ActivationKind::relu:
      return F::relu(x);
    case ActivationKind::relu6:
      return F::relu6(x);
    case ActivationKind::leaky_relu:
      return F::leaky_relu(x, F::LeakyReLUFuncOptions().negative_slope(p[0]));
    case ActivationKind::elu:
      return F::elu(x, F::ELUFuncOptions().alpha(p[0]));
    case ActivationKind::selu:
      return F::selu(x);
    case ActivationKind::celu:
      return F::celu(x, F::CELUFuncOptions().alpha(p[0]));
    case ActivationKind::gelu:
      return F::gelu(x);
    case ActivationKind::gelu_tanh:
      return F::gelu(x, F::GELUFuncOptions().approximate("tanh"));
    case ActivationKind::silu:
      return F::silu(x);
    case ActivationKind::mish:
      return F::mish(x);
    case ActivationKind::softplus:
      return F::softplus(x, F::SoftplusFuncOptions().beta(p[0]).threshold(p[1]));
    case ActivationKind::softsign:
      return F::softsign(x);
    case ActivationKind::tanh:
      return torch::tanh(x);
    case ActivationKind::sigmoid:
      return torch::sigmoid(x);
    case ActivationKind::logsigmoid:
      return F::logsigmoid(x);
    case ActivationKind::hardswish:
      return torch::hardswish(x);
    case ActivationKind::hardsigmoid:
      return torch::hardsigmoid(x);
    case ActivationKind::hardtanh:
      return F::hardtanh(x, F::HardtanhFuncOptions().min_val(p[0]).max_val(p[1]));
    case ActivationKind::tanhshrink:
      return F::tanhshrink(x);
    case ActivationKind::softshrink:
      return F::softshrink(x, F::SoftshrinkFuncOptions().lambda(p[0]));
    case ActivationKind::relu2:
      return F::relu(x).pow(2);
    case ActivationKind::identity:
      return x.clone();
  }
  throw std::invalid_argument("the oracle does not know " + activation.to_string());
}

// f(x) and f'(x) in double; the derivative by PyTorch's autograd of its own activation.
struct ValueAndSlope {
  at::Tensor value;
  at::Tensor slope;
};
inline ValueAndSlope reference(const Activation& activation, const at::Tensor& input) {
  auto x = input.detach().to(at::kDouble).contiguous().clone().requires_grad_(true);
  const auto value = torch_value(activation, x);
  if (!value.numel()) return {value.detach().clone(), at::empty_like(x)};
  const auto slope = torch::autograd::grad({value.sum()}, {x})[0];
  return {value.detach().clone(), slope.detach()};
}

// The statistics of a batch, by PyTorch in double.
inline Statistics reference_statistics(const Activation& activation, const at::Tensor& input) {
  const auto [value, slope] = reference(activation, input);
  return {.output_mean = value.mean().item<double>(),
          .output_square = value.square().mean().item<double>(),
          .input_variance = input.detach().to(at::kDouble).var(false).item<double>(),
          .backward_gain = slope.square().mean().item<double>()};
}

inline RunningStatistics make_running(const Statistics& statistics, std::int64_t tracked = kStartBatches,
                                      at::ScalarType dtype = at::kFloat) {
  const auto scalar = [&](double value) { return at::full({}, value, at::TensorOptions().dtype(dtype)); };
  return {scalar(statistics.output_mean), scalar(statistics.output_square), scalar(statistics.input_variance),
          scalar(statistics.backward_gain), at::full({}, tracked, at::TensorOptions().dtype(at::kLong))};
}

inline Statistics read(const RunningStatistics& running) {
  return {.output_mean = running.output_mean.item<double>(),
          .output_square = running.output_square.item<double>(),
          .input_variance = running.input_variance.item<double>(),
          .backward_gain = running.backward_gain.item<double>()};
}

// The largest difference of two tensors as doubles, where a NaN equals a NaN and an infinity itself.
inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0) return 0;
  const auto x = a.detach().to(at::kDouble);
  const auto y = b.detach().to(at::kDouble);
  const auto same = (x == y).logical_or(x.isnan().logical_and(y.isnan()));
  return at::where(same, 0.0, (x - y).abs()).nan_to_num(INFINITY).max().item<double>();
}

}  // namespace anact::ops::test
