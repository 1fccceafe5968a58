#include "bench/plain.h"

#include "ops/fallback/anact.h"

namespace anact::bench {

PlainNormalizedImpl::PlainNormalizedImpl(const Activation& activation) : activation_(activation), state_(activation) {
  alpha = register_parameter("alpha", state_->alpha);
}

torch::Tensor PlainNormalizedImpl::forward(const torch::Tensor& input) {
  const auto f = ops::fallback::value(activation_, input);
  const auto mean = state_->output_mean.clone();
  const auto rho = state_->output_square / state_->input_variance;
  const auto lambda = torch::sqrt((1 / rho + 1 / state_->backward_gain) / 2);
  const auto scale = (lambda + kAlphaRange * torch::tanh(alpha)).to(input.scalar_type());
  const auto output = scale * (f - mean.to(input.scalar_type()));
  const torch::NoGradGuard no_grad;
  const auto mix = [&](torch::Tensor& running, const torch::Tensor& batch) {
    running.lerp_(batch.to(torch::kFloat), state_->options.momentum());
  };
  mix(state_->output_mean, f.mean());
  mix(state_->output_square, f.square().mean());
  mix(state_->input_variance, input.var(false));
  mix(state_->backward_gain, ops::fallback::derivative(activation_, input).square().mean());
  return output;
}

}  // namespace anact::bench
