#include "ops/fallback/anact.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <limits>
#include <stdexcept>

#include "ops/passes.h"
#include "ops/tensors.h"

namespace anact::ops::fallback {
namespace {

at::ScalarType arithmetic_type(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Statistics as float64 scalars on the input's device, so that nothing waits for the device.
struct TensorStatistics {
  at::Tensor output_mean;
  at::Tensor output_square;
  at::Tensor input_variance;
  at::Tensor backward_gain;
};

TensorStatistics widen(const RunningStatistics& running) {
  return {running.output_mean.to(at::kDouble), running.output_square.to(at::kDouble),
          running.input_variance.to(at::kDouble), running.backward_gain.to(at::kDouble)};
}

at::TensorOptions wide(const at::Tensor& input) {
  return input.options().dtype(at::kDouble).memory_format(std::nullopt);
}

at::Tensor moments_of_values(const at::Tensor& x, const at::Tensor& f, const at::Tensor& slope) {
  if (x.numel() == 0) return at::zeros({kMomentsSize}, wide(x));
  const auto xd = x.to(at::kDouble);
  const auto mean = xd.mean();
  return at::stack({at::full_like(mean, static_cast<double>(x.numel())), mean, at::square(xd - mean).sum(),
                    f.to(at::kDouble).sum(), at::square(f.to(at::kDouble)).sum(),
                    at::square(slope.to(at::kDouble)).sum()});
}

TensorStatistics to_tensor_statistics(const at::Tensor& moments) {
  const auto count = moments[0];
  return {moments[3] / count, moments[4] / count, moments[2] / count, moments[5] / count};
}

at::Tensor accepted(const TensorStatistics& running, const TensorStatistics& batch, const UpdateOptions& update) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  constexpr double kSmallest = std::numeric_limits<float>::min();
  const auto positive = at::stack({batch.output_square, batch.input_variance, batch.backward_gain});
  auto result = (batch.output_mean.abs() <= kLargest)
                    .logical_and((positive >= kSmallest).all())
                    .logical_and((positive <= kLargest).all());
  if (update.gate_low == 0 && update.gate_high == 0) return result;
  const auto gain = [](const TensorStatistics& of) { return of.output_square / of.input_variance; };
  for (const auto& ratio : {gain(batch) / gain(running), batch.backward_gain / running.backward_gain}) {
    result = result.logical_and(ratio >= update.gate_low).logical_and(ratio <= update.gate_high);
  }
  return result;
}

at::Tensor replaces(const TensorStatistics& running, const TensorStatistics& batch,
                    const at::Tensor& num_batches_tracked) {
  const auto old = at::stack({running.output_square, running.input_variance, running.backward_gain});
  const auto fresh = at::stack({batch.output_square, batch.input_variance, batch.backward_gain});
  const auto unlike = (fresh > kUnlike * old).logical_or(kUnlike * fresh < old).any();
  return (num_batches_tracked == 0).logical_or((num_batches_tracked < kStartBatches).logical_and(unlike));
}

at::Tensor weight(const at::Tensor& replaced, const at::Tensor& num_batches_tracked, double momentum) {
  return at::where(replaced, 1.0, at::clamp_min(1 / (num_batches_tracked.to(at::kDouble) + 1), momentum));
}

TensorStatistics blend(const TensorStatistics& running, const TensorStatistics& batch, const at::Tensor& weight,
                       const at::Tensor& accept) {
  const auto mix = [&](const at::Tensor& old, const at::Tensor& fresh) {
    // old + (fresh - old) need not round to fresh.
    return at::where(accept, at::where(weight == 1, fresh, old + weight * (fresh - old)), old);
  };
  return {mix(running.output_mean, batch.output_mean), mix(running.output_square, batch.output_square),
          mix(running.input_variance, batch.input_variance), mix(running.backward_gain, batch.backward_gain)};
}

at::Tensor target_moment(const at::Tensor& input_variance, Target target) {
  switch (target) {
    case Target::damped:
      return at::pow(input_variance, kDamping);
    case Target::input:
      return input_variance;
    case Target::unit:
      return at::ones_like(input_variance);
  }
  throw std::invalid_argument("target_moment: not a target");
}

// The members of a map.
struct TensorMap {
  at::Tensor scale;
  at::Tensor offset;
  at::Tensor centre;
};

TensorMap factors(const TensorStatistics& statistics, const at::Tensor& alpha, const NormalizationOptions& options) {
  const auto& mean = statistics.output_mean;
  const auto& variance = statistics.input_variance;
  const auto spread = at::clamp_min(statistics.output_square - mean * mean, 0);
  const auto emitted = options.gain == Gain::output && options.centre ? spread : statistics.output_square;
  const auto target = target_moment(variance, options.target);
  const auto inverse_forward = target / emitted;
  const auto inverse_backward =
      options.target == Target::input ? 1 / statistics.backward_gain : target / (variance * statistics.backward_gain);
  at::Tensor square;
  switch (options.solution) {
    case Solution::compromise:
      square = (inverse_forward + inverse_backward) * 0.5;
      break;
    case Solution::forward:
      square = inverse_forward;
      break;
    case Solution::geometric:
      square = at::sqrt(inverse_forward) * at::sqrt(inverse_backward);
      break;
    case Solution::backward:
    case Solution::exact:
      square = inverse_backward;
      break;
  }
  const double infinity = std::numeric_limits<double>::infinity();
  const auto lambda =
      at::nan_to_num(at::sqrt(square), infinity, infinity, 0.0).clamp(options.lambda_min, options.lambda_max);
  const auto tanh = at::tanh(alpha.to(at::kDouble).reshape({}));
  const auto scale = lambda + kAlphaRange * tanh;
  const auto centre = options.centre ? mean : at::zeros_like(mean);
  auto shift = at::zeros_like(mean);
  if (options.solution == Solution::exact) {
    shift = -at::sqrt(at::clamp_min(target - lambda * lambda * spread, 0));
  }
  return {scale, shift - scale * centre, centre};
}

at::Tensor in_type(const at::Tensor& map, std::int64_t place, const at::Tensor& x) {
  return map[place].to(x.scalar_type());
}

// (sum of g * f, sum of g, 0), in double.
at::Tensor grad_map(const at::Tensor& g, const at::Tensor& f) {
  const auto wide = g.to(at::kDouble);
  const auto sum = wide.sum();
  return at::stack({(wide * f.to(at::kDouble)).sum(), sum, at::zeros_like(sum)});
}

}  // namespace

at::Tensor measure(const at::Tensor& input, const Functions& functions) {
  check_input(input);
  const auto x = input.to(arithmetic_type(input));
  return moments_of_values(x, functions.value(x), functions.derivative(x));
}

TensorPair apply(const at::Tensor& input, const at::Tensor& map, const Functions& functions, bool measure) {
  check_input(input);
  check_map(map);
  check_device(input, map, "map is on");
  const auto x = input.to(arithmetic_type(input));
  const auto f = functions.value(x);
  auto output = empty_output(input);
  output.copy_(f * in_type(map, 0, x) + in_type(map, 1, x));
  return {output, measure ? moments_of_values(x, f, functions.derivative(x)) : at::empty({0}, wide(x))};
}

TensorPair apply_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                          const Functions& functions) {
  check_backward(grad, input, map);
  const auto x = input.to(arithmetic_type(input));
  const auto g = grad.to(x.scalar_type());
  auto grad_input = empty_output(input);
  grad_input.copy_(g * in_type(map, 0, x) * functions.derivative(x));
  return {grad_input, grad_map(g, functions.value(x))};
}

TensorPair apply_backward_differentiable(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                                         const Functions& functions) {
  check_backward(grad, input, map);
  const auto x = input.to(arithmetic_type(input));
  const auto g = grad.to(x.scalar_type());
  const auto grad_input = g * in_type(map, 0, x) * functions.derivative(x);
  return {grad_input.to(input.scalar_type()), grad_map(g, functions.value(x))};
}

at::Tensor grad_alpha(const at::Tensor& grad_map, const at::Tensor& alpha, const at::Tensor& map) {
  // map = (scale, shift - scale * centre, centre), of which alpha moves the scale, as 0.3 tanh(alpha).
  const auto cosh = at::cosh(alpha.to(at::kDouble).reshape({}));
  const auto gradient = kAlphaRange / cosh / cosh * (grad_map[0] - map[2].detach() * grad_map[1]);
  return gradient.to(alpha.scalar_type()).reshape(alpha.sizes());
}

at::Tensor measure(const at::Tensor& input, Name activation, Parameters parameters,
                   const std::optional<at::Tensor>& unless) {
  const auto functions = to_functions(decode_activation(activation, parameters));
  check_unless(unless);
  const auto moments = measure(input, functions);
  return unless && !runs_again() ? at::where(*unless < kStartBatches, moments, 0.0) : moments;
}

at::Tensor factors(const at::Tensor& alpha, const at::Tensor& output_mean, const at::Tensor& output_square,
                   const at::Tensor& input_variance, const at::Tensor& backward_gain,
                   const at::Tensor& num_batches_tracked, const std::optional<at::Tensor>& moments, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  const Options& chosen = decode_options(options);
  check_factors(alpha, running, moments, chosen);
  if (moments && runs_again() && chosen.follows()) return find_pass(alpha, *moments);
  auto used = widen(running);
  if (moments && chosen.uses_batch(0)) {
    const auto update = chosen.update();
    const auto batch = to_tensor_statistics(*moments);
    const bool alone = chosen.statistics == StatisticsSource::batch;
    auto accept = ((*moments)[0] > 0).logical_and(accepted(used, batch, update));
    const auto replaced = replaces(used, batch, num_batches_tracked);
    if (!chosen.updates(false)) accept = accept.logical_and(num_batches_tracked == 0);
    if (!chosen.uses_batch(kStartBatches)) accept = accept.logical_and(replaced);
    used = blend(used, batch,
                 alone ? at::ones_like(batch.output_mean) : weight(replaced, num_batches_tracked, update.momentum),
                 accept);
  }
  const auto [scale, offset, centre] = factors(used, alpha, chosen.normalization());
  return at::stack({scale, offset, centre});
}

TensorPair apply(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters, bool measure) {
  return apply(input, map, to_functions(decode_activation(activation, parameters)), measure);
}

TensorPair apply_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map, Name activation,
                          Parameters parameters) {
  return apply_backward(grad, input, map, to_functions(decode_activation(activation, parameters)));
}

void update(const at::Tensor& output_mean, const at::Tensor& output_square, const at::Tensor& input_variance,
            const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked, const at::Tensor& num_skipped,
            const at::Tensor& moments, const at::Tensor& alpha, const at::Tensor& map, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  const Options& chosen = decode_options(options);
  check_update(running, num_skipped, moments, map, chosen);
  if (runs_again()) return;
  if (chosen.follows() && may_run_again()) remember_pass(alpha, moments, map);
  if (!chosen.updates(true)) return;
  const auto options_of_update = chosen.update();
  const auto batch = to_tensor_statistics(moments);
  const auto old = widen(running);
  auto filled = moments[0] > 0;
  if (!chosen.updates(false)) filled = filled.logical_and(num_batches_tracked == 0);
  const auto accept = filled.logical_and(accepted(old, batch, options_of_update));
  const auto fresh =
      blend(old, batch,
            weight(replaces(old, batch, num_batches_tracked), num_batches_tracked, options_of_update.momentum), accept);
  output_mean.copy_(fresh.output_mean);
  output_square.copy_(fresh.output_square);
  input_variance.copy_(fresh.input_variance);
  backward_gain.copy_(fresh.backward_gain);
  num_batches_tracked.add_(accept.to(at::kLong));
  num_skipped.add_(filled.logical_and(accept.logical_not()).to(at::kLong));
}

namespace {

at::Tensor evaluate(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& output_mean,
                    const at::Tensor& output_square, const at::Tensor& input_variance, const at::Tensor& backward_gain,
                    Name activation, Parameters parameters, Name options) {
  const auto chosen = decode_activation(activation, parameters);
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, at::Tensor()};
  const Options& how = decode_options(options);
  check_input(input);
  check_factors(alpha, running, std::nullopt, how);
  check_device(input, output_mean, "statistics are on");
  const auto x = input.to(arithmetic_type(input));
  const auto map = factors(widen(running), alpha, how.normalization());
  const auto y = value(chosen, x) * map.scale.to(x.scalar_type()) + map.offset.to(x.scalar_type());
  return y.to(input.scalar_type());
}

}  // namespace

TORCH_LIBRARY_IMPL(anact, CompositeImplicitAutograd, m) { m.impl("evaluate", &evaluate); }

TORCH_LIBRARY_IMPL(anact, CompositeExplicitAutograd, m) {
  m.impl("measure", static_cast<MeasureOperator*>(&measure));
  m.impl("factors", static_cast<FactorsOperator*>(&factors));
  m.impl("apply", static_cast<ApplyOperator*>(&apply));
  m.impl("apply_backward", static_cast<ApplyBackwardOperator*>(&apply_backward));
  m.impl("update_", &update);
}

}  // namespace anact::ops::fallback
