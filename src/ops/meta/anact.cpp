// Shapes, types and strides without data, for graph capture.

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "ops/arguments.h"

namespace anact::ops {
namespace {

ForwardResult forward_meta(ANACT_FORWARD_PARAMETERS) {
  (void)decode_activation(activation, parameters);
  (void)decode_forward(ANACT_FORWARD_ARGUMENTS);
  const auto wide = input.options().dtype(at::kDouble).memory_format(std::nullopt);
  return {empty_output(input), at::empty({training ? kMomentsSize : 0}, wide), at::empty({kFactorsSize}, wide)};
}

BackwardResult backward_meta(ANACT_BACKWARD_PARAMETERS) {
  (void)decode_activation(activation, parameters);
  check_backward(grad, input, factors);
  return {empty_output(input), at::empty(alpha.sizes(), alpha.options())};
}

void update_statistics_meta(ANACT_UPDATE_PARAMETERS) {
  check_update(ANACT_RUNNING, num_skipped, moments, decode_options(options));
}

}  // namespace

TORCH_LIBRARY_IMPL(anact, Meta, m) {
  m.impl("forward", &forward_meta);
  m.impl("backward", &backward_meta);
  m.impl("update_statistics_", &update_statistics_meta);
}

}  // namespace anact::ops
