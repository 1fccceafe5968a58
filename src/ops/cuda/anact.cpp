// The operators on CUDA: the fused kernels where they run, the plain version elsewhere.

#include "ops/fallback/anact.h"

#include <torch/library.h>

#include "ops/arguments.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/nvidia.h"

namespace anact::ops::cuda {
namespace {

using kernels::cuda::Kernel;

Device* device_with(Kernel kernel, at::Device place, at::ScalarType type, ActivationKind activation) {
  return cuda::device_with({&kernel, 1}, place, type, activation);
}

at::Tensor measure_cuda(const at::Tensor& input, Name activation, Parameters parameters,
                        const std::optional<at::Tensor>& unless) {
  const auto chosen = decode_activation(activation, parameters);
  auto* device = device_with(Kernel::measure, input.device(), input.scalar_type(), chosen.kind);
  if (device == nullptr) return fallback::measure(input, activation, parameters, unless);
  check_unless(unless);
  return measure(*device, input, chosen, unless);
}

at::Tensor factors_cuda(const at::Tensor& alpha, const at::Tensor& output_mean, const at::Tensor& output_square,
                        const at::Tensor& input_variance, const at::Tensor& backward_gain,
                        const at::Tensor& num_batches_tracked, const std::optional<at::Tensor>& moments, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  const Options& chosen = decode_options(options);
  auto* device = device_with(Kernel::factors, alpha.device(), at::kFloat, ActivationKind::identity);
  if (device == nullptr) {
    return fallback::factors(alpha, output_mean, output_square, input_variance, backward_gain, num_batches_tracked,
                             moments, options);
  }
  check_factors(alpha, running, moments, chosen);
  return factors(*device, alpha, running, moments, chosen);
}

TensorPair apply_cuda(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters,
                      bool measure) {
  const auto chosen = decode_activation(activation, parameters);
  const auto kernel = measure ? Kernel::apply_measure : Kernel::apply;
  auto* device = device_with(kernel, input.device(), input.scalar_type(), chosen.kind);
  if (device == nullptr) return fallback::apply(input, map, activation, parameters, measure);
  check_map(map);
  check_device(input, map, "map is on");
  return apply(*device, input, map, chosen, measure);
}

TensorPair apply_backward_cuda(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map, Name activation,
                               Parameters parameters) {
  const auto chosen = decode_activation(activation, parameters);
  auto* device = device_with(Kernel::backward, input.device(), input.scalar_type(), chosen.kind);
  if (device == nullptr) return fallback::apply_backward(grad, input, map, activation, parameters);
  check_backward(grad, input, map);
  return apply_backward(*device, grad, input, map, chosen);
}

void update_cuda(const at::Tensor& output_mean, const at::Tensor& output_square, const at::Tensor& input_variance,
                 const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked, const at::Tensor& num_skipped,
                 const at::Tensor& moments, const at::Tensor& alpha, const at::Tensor& map, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  const Options& chosen = decode_options(options);
  auto* device = device_with(Kernel::update, output_mean.device(), at::kFloat, ActivationKind::identity);
  if (device == nullptr) {
    return fallback::update(output_mean, output_square, input_variance, backward_gain, num_batches_tracked, num_skipped,
                            moments, alpha, map, options);
  }
  check_update(running, num_skipped, moments, map, chosen);
  update(*device, running, num_skipped, moments, alpha, map, chosen);
}

}  // namespace

TORCH_LIBRARY_IMPL(anact, CUDA, m) {
  m.impl("measure", &measure_cuda);
  m.impl("factors", &factors_cuda);
  m.impl("apply", &apply_cuda);
  m.impl("apply_backward", &apply_backward_cuda);
  m.impl("update_", &update_cuda);
}

}  // namespace anact::ops::cuda
