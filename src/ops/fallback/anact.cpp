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

at::Tensor measure(const at::Tensor& x, const at::Tensor& f, const at::Tensor& slope) {
  if (x.numel() == 0) return at::zeros({kMomentsSize}, x.options().dtype(at::kDouble).memory_format(std::nullopt));
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
  const auto all = at::stack({batch.output_mean, batch.output_square, batch.input_variance, batch.backward_gain});
  auto result = at::isfinite(all).all();
  if (update.gate_low == 0 && update.gate_high == 0) return result;
  const auto gain = [](const TensorStatistics& of) {
    return at::where(of.output_square == 0, 0.0, of.output_square / of.input_variance);
  };
  // Equal gains have ratio 1, also where both are 0 or both are infinite.
  const auto change = [](const at::Tensor& old, const at::Tensor& fresh) {
    return at::where(fresh == old, 1.0, fresh / old);
  };
  for (const auto& ratio : {change(gain(running), gain(batch)), change(running.backward_gain, batch.backward_gain)}) {
    result = result.logical_and(ratio >= update.gate_low).logical_and(ratio <= update.gate_high);
  }
  return result;
}

at::Tensor weight(const at::Tensor& num_batches_tracked, double momentum) {
  return at::clamp_min(1 / (num_batches_tracked.to(at::kDouble) + 1), momentum);
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

// anact::Factors as tensors.
struct TensorFactors {
  at::Tensor scale;
  at::Tensor offset;
  at::Tensor centre;
  at::Tensor scale_slope;
};

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

TensorFactors factors(const TensorStatistics& statistics, const at::Tensor& alpha,
                      const NormalizationOptions& options) {
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
  return {scale, shift - scale * centre, centre, kAlphaRange * (1 - tanh * tanh)};
}

at::Tensor to_tensor(const TensorFactors& factors) {
  return at::stack({factors.scale, factors.offset, factors.centre, factors.scale_slope});
}

// The sum in double of g * (f - centre).
at::Tensor alpha_sum(const at::Tensor& g, const at::Tensor& f, const at::Tensor& centre) {
  return (g.to(at::kDouble) * (f.to(at::kDouble) - centre)).sum();
}

}  // namespace

ForwardResult forward(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                      const Functions& functions, const ForwardConfiguration& configuration) {
  const auto& [options, training, known_factors] = configuration;
  const auto source = options.statistics;
  const auto update = options.update();
  const auto x = input.to(arithmetic_type(input));
  const auto f = functions.value(x);
  auto moments = at::empty({0}, x.options().dtype(at::kDouble).memory_format(std::nullopt));
  if (training) moments = measure(x, f, functions.derivative(x));
  auto used = widen(running);
  if (training && !known_factors && x.numel() > 0 && source != StatisticsSource::fixed) {
    const auto batch = to_tensor_statistics(moments);
    const bool alone = source == StatisticsSource::batch;
    auto accept = accepted(used, batch, update);
    if (source == StatisticsSource::previous) accept = accept.logical_and(running.num_batches_tracked == 0);
    used =
        blend(used, batch,
              alone ? at::ones_like(batch.output_mean) : weight(running.num_batches_tracked, update.momentum), accept);
  }
  auto map = known_factors ? known_factors->clone() : to_tensor(factors(used, alpha, options.normalization()));
  if (training && !known_factors) {
    if (runs_again()) {
      const auto found = find_pass(running.output_mean, to_moments(moments.cpu()));
      if (found) map = ops::to_tensor(*found).to(map.device());
    } else if (may_run_again()) {
      remember_pass(running.output_mean, moments, map);
    }
  }
  auto output = empty_output(input);
  output.copy_(f * map[0].to(x.scalar_type()) + map[1].to(x.scalar_type()));
  return {output, moments, map};
}

BackwardResult backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                        const at::Tensor& factors, const Functions& functions) {
  check_backward(grad, input, factors);
  const auto x = input.to(arithmetic_type(input));
  const auto g = grad.to(x.scalar_type());
  auto grad_input = empty_output(input);
  grad_input.copy_(g * factors[0].to(x.scalar_type()) * functions.derivative(x));
  const auto grad_alpha = factors[3] * alpha_sum(g, functions.value(x), factors[2]);
  return {grad_input, grad_alpha.to(alpha.scalar_type()).reshape(alpha.sizes())};
}

BackwardResult backward_differentiable(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                                       const at::Tensor& factors, const Functions& functions) {
  check_backward(grad, input, factors);
  const auto x = input.to(arithmetic_type(input));
  const auto g = grad.to(x.scalar_type());
  // The factors are constants of the step but for alpha, which enters the scale as 0.3 tanh(alpha).
  const auto tanh = at::tanh(alpha.to(at::kDouble).reshape({}));
  const auto scale = factors[0] + kAlphaRange * (tanh - tanh.detach());
  const auto scale_slope = kAlphaRange * (1 - tanh * tanh);
  const auto grad_input = g * scale.to(x.scalar_type()) * functions.derivative(x);
  const auto grad_alpha = scale_slope * alpha_sum(g, functions.value(x), factors[2]);
  return {grad_input.to(input.scalar_type()), grad_alpha.to(alpha.scalar_type()).reshape(alpha.sizes())};
}

ForwardResult forward(ANACT_FORWARD_PARAMETERS) {
  const auto chosen = decode_activation(activation, parameters);
  return forward(input, alpha, ANACT_RUNNING, to_functions(chosen), decode_forward(ANACT_FORWARD_ARGUMENTS));
}

BackwardResult backward(ANACT_BACKWARD_PARAMETERS) {
  return backward(grad, input, alpha, factors, to_functions(decode_activation(activation, parameters)));
}

void update_statistics(ANACT_UPDATE_PARAMETERS) {
  const Options& chosen = decode_options(options);
  check_update(ANACT_RUNNING, num_skipped, moments, chosen);
  if (chosen.statistics == StatisticsSource::fixed || runs_again()) return;
  const auto update = chosen.update();
  const auto batch = to_tensor_statistics(moments);
  const auto old = widen(ANACT_RUNNING);
  const auto filled = moments[0] > 0;
  const auto accept = filled.logical_and(accepted(old, batch, update));
  const auto fresh = blend(old, batch, weight(num_batches_tracked, update.momentum), accept);
  output_mean.copy_(fresh.output_mean);
  output_square.copy_(fresh.output_square);
  input_variance.copy_(fresh.input_variance);
  backward_gain.copy_(fresh.backward_gain);
  num_batches_tracked.add_(accept.to(at::kLong));
  num_skipped.add_(filled.logical_and(accept.logical_not()).to(at::kLong));
}

at::Tensor evaluate(ANACT_EVALUATE_PARAMETERS) {
  const auto chosen = decode_activation(activation, parameters);
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, at::Tensor()};
  const Options& how = decode_options(options);
  check_evaluate(input, alpha, running, how);
  const auto x = input.to(arithmetic_type(input));
  const auto map = factors(widen(running), alpha, how.normalization());
  const auto y = value(chosen, x) * map.scale.to(x.scalar_type()) + map.offset.to(x.scalar_type());
  return y.to(input.scalar_type());
}

TORCH_LIBRARY_IMPL(anact, CompositeImplicitAutograd, m) { m.impl("evaluate", &evaluate); }

TORCH_LIBRARY_IMPL(anact, CompositeExplicitAutograd, m) {
  m.impl("forward", static_cast<ForwardResult (*)(ANACT_FORWARD_PARAMETERS)>(&forward));
  m.impl("backward", static_cast<BackwardResult (*)(ANACT_BACKWARD_PARAMETERS)>(&backward));
  m.impl("update_statistics_", &update_statistics);
}

}  // namespace anact::ops::fallback
