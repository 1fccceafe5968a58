#include "bench/plain.h"

#include <algorithm>

#include "ops/fallback/anact.h"

namespace anact::bench {

PlainNormalizedImpl::PlainNormalizedImpl(const Activation& activation) : activation_(activation), state_(activation) {
  alpha = register_parameter("alpha", state_->alpha);
}

torch::Tensor PlainNormalizedImpl::forward(const torch::Tensor& input) {
  const auto f = ops::fallback::value(activation_, input);
  const auto measure = [&] {
    const torch::NoGradGuard no_grad;
    const double weight = std::max(state_->options.momentum(), 1 / static_cast<double>(++batches_));
    const auto mix = [&](torch::Tensor& running, const torch::Tensor& batch) {
      running.lerp_(batch.to(torch::kFloat), weight);
    };
    mix(state_->output_mean, f.mean());
    mix(state_->output_square, f.square().mean());
    mix(state_->input_variance, input.var(false));
    mix(state_->backward_gain, ops::fallback::derivative(activation_, input).square().mean());
  };
  const bool first = batches_ == 0;
  if (first) measure();
  const auto mean = state_->output_mean.clone();
  const auto goal = state_->input_variance.pow(kDamping);
  const auto lambda = torch::sqrt(goal / (state_->input_variance * state_->backward_gain));
  const auto shift = -torch::sqrt((goal - lambda.square() * (state_->output_square - mean.square())).clamp_min(0));
  const auto scale = (lambda + kAlphaRange * torch::tanh(alpha)).to(input.scalar_type());
  const auto output = scale * (f - mean.to(input.scalar_type())) + shift.to(input.scalar_type());
  if (!first) measure();
  return output;
}

}  // namespace anact::bench
