// What the operators' derivatives and a step's share.
#pragma once

#include <ATen/FuncTorchTLS.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <initializer_list>

#include "ops/anact.h"

namespace anact::ops {

// A tangent would be lost without a word.
inline void refuse_forward_mode(std::initializer_list<const at::Tensor*> tensors) {
  for (const auto* tensor : tensors) {
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::autograd::isFwGradDefined(*tensor),
                                "anact: forward-mode differentiation is not supported");
  }
}

// Whether a gradient of one of these is to come; without one, the bookkeeping would cost more than a small tensor's
// pass. Throws where there is no derivative.
inline bool differentiates(std::initializer_list<const at::Tensor*> tensors) {
  refuse_forward_mode(tensors);
  if (!at::GradMode::is_enabled() ||
      std::ranges::none_of(tensors, [](const at::Tensor* tensor) { return tensor->requires_grad(); })) {
    return false;
  }
  // vmap and the like would pass an operator with a derivative in C++ by.
  if (const auto& functorch = at::functorch::functorchTLSAccessor()) functorch->checkSupportsCppAutogradFunction();
  return true;
}

// Tells autograd that these buffers have changed.
inline void mark_updated(const RunningStatistics& running, const at::Tensor& num_skipped) {
  for (const auto* buffer : {&running.output_mean, &running.output_square, &running.input_variance,
                             &running.backward_gain, &running.num_batches_tracked, &num_skipped}) {
    if (!buffer->is_inference()) buffer->unsafeGetTensorImpl()->bump_version();
  }
}

}  // namespace anact::ops
