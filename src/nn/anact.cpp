#include <ostream>
#include <utility>

#include "anact/nn.h"
#include "nn/step.h"

namespace anact::nn {

ANActImpl::ANActImpl(ANActOptions options) : options(std::move(options)) { reset(); }

void ANActImpl::reset() {
  validate(options.values());
  alpha = register_parameter("alpha", torch::zeros({1}), options.learnable());
  output_mean = register_buffer("output_mean", torch::zeros({}));
  output_square = register_buffer("output_square", torch::zeros({}));
  input_variance = register_buffer("input_variance", torch::zeros({}));
  backward_gain = register_buffer("backward_gain", torch::zeros({}));
  num_batches_tracked = register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
  num_batches_skipped = register_buffer("num_batches_skipped", torch::zeros({}, torch::kLong));
  reset_running_stats();
}

void ANActImpl::reset_parameters() {
  const torch::NoGradGuard no_grad;
  alpha.zero_();
  reset_running_stats();
}

void ANActImpl::reset_running_stats() {
  const auto normal = gaussian_statistics(options);
  output_mean.fill_(normal.output_mean);
  output_square.fill_(normal.output_square);
  input_variance.fill_(normal.input_variance);
  backward_gain.fill_(normal.backward_gain);
  num_batches_tracked.zero_();
  num_batches_skipped.zero_();
}

torch::Tensor ANActImpl::forward(const torch::Tensor& input) {
  return step(input, alpha, {output_mean, output_square, input_variance, backward_gain, num_batches_tracked},
              num_batches_skipped, options, is_training() && !is_frozen(alpha, options));
}

Statistics ANActImpl::statistics() const {
  return {.output_mean = output_mean.item<double>(),
          .output_square = output_square.item<double>(),
          .input_variance = input_variance.item<double>(),
          .backward_gain = backward_gain.item<double>()};
}

double ANActImpl::factor() const { return lambda(statistics(), options.values().normalization()); }

void ANActImpl::pretty_print(std::ostream& stream) const { stream << print(options); }

void ANActImpl::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  to(device, non_blocking);
  to(dtype, non_blocking);
}

void ANActImpl::to(torch::Dtype dtype, bool) {
  const auto statistics_type = dtype == torch::kDouble ? torch::kDouble : torch::kFloat;
  alpha.set_data(alpha.to(dtype));
  for (auto* buffer : {&output_mean, &output_square, &input_variance, &backward_gain}) {
    buffer->set_data(buffer->to(statistics_type));
  }
}

ANAct NSwish() { return ANAct(ANActOptions("silu")); }
ANAct NReLU() { return ANAct(ANActOptions("relu")); }

namespace functional {

torch::Tensor anact(const torch::Tensor& input, const ANActOptions& options) { return normalize(input, options); }

}  // namespace functional

}  // namespace anact::nn
