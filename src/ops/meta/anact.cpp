// Shapes, types and strides without data, for graph capture.

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "ops/arguments.h"

namespace anact::ops {
namespace {

// `size` elements of float64 on the device of `like`.
at::Tensor wide(const at::Tensor& like, std::int64_t size) {
  return at::empty({size}, like.options().dtype(at::kDouble).memory_format(std::nullopt));
}

at::Tensor measure_meta(const at::Tensor& input, Name activation, Parameters parameters,
                        const std::optional<at::Tensor>& unless) {
  (void)decode_activation(activation, parameters);
  check_input(input);
  check_unless(unless);
  return wide(input, kMomentsSize);
}

at::Tensor factors_meta(const at::Tensor& alpha, const at::Tensor& output_mean, const at::Tensor& output_square,
                        const at::Tensor& input_variance, const at::Tensor& backward_gain,
                        const at::Tensor& num_batches_tracked, const std::optional<at::Tensor>& moments, Name options) {
  check_factors(alpha, {output_mean, output_square, input_variance, backward_gain, num_batches_tracked}, moments,
                decode_options(options));
  return wide(output_mean, kMapSize);
}

TensorPair apply_meta(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters,
                      bool measure) {
  (void)decode_activation(activation, parameters);
  check_input(input);
  check_map(map);
  return {empty_output(input), wide(input, measure ? kMomentsSize : 0)};
}

TensorPair apply_backward_meta(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map, Name activation,
                               Parameters parameters) {
  (void)decode_activation(activation, parameters);
  check_backward(grad, input, map);
  return {empty_output(input), wide(input, kMapSize)};
}

void update_meta(const at::Tensor& output_mean, const at::Tensor& output_square, const at::Tensor& input_variance,
                 const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked, const at::Tensor& num_skipped,
                 const at::Tensor& moments, const at::Tensor& alpha, const at::Tensor& map, Name options) {
  (void)alpha;
  check_update({output_mean, output_square, input_variance, backward_gain, num_batches_tracked}, num_skipped, moments,
               map, decode_options(options));
}

}  // namespace

TORCH_LIBRARY_IMPL(anact, Meta, m) {
  m.impl("measure", &measure_meta);
  m.impl("factors", &factors_meta);
  m.impl("apply", &apply_meta);
  m.impl("apply_backward", &apply_backward_meta);
  m.impl("update_", &update_meta);
}

}  // namespace anact::ops
