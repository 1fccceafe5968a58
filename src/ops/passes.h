// The affine maps of training's forward passes, for those that run again.
//
// Activation checkpointing, and a captured graph that computes activations anew, run a forward pass a second time
// within the backward pass. By then the running statistics have moved; the same gradient needs the same map, and the
// statistics must not move twice. The operators see to both themselves, so that it holds however they are called.
#pragma once

#include <ATen/core/Tensor.h>

namespace anact::ops {

// Whether this pass runs within a backward pass.
[[nodiscard]] bool runs_again();

// Whether this pass can be one that runs again: it keeps no graph, or hooks take what it saves. Of any other pass
// nothing need be kept.
[[nodiscard]] bool may_run_again();

// How many passes of a module are kept; the oldest is forgotten.
inline constexpr std::int64_t kPassesKept = 16384;

// Keeps a pass of the module whose parameter `alpha` is: `moments`, by which it is found, and its `map`, both on one
// device, which is not waited for. What was kept under an earlier value of alpha is forgotten: after a step of the
// optimizer no pass runs again. Safe from any thread.
void remember_pass(const at::Tensor& alpha, const at::Tensor& moments, const at::Tensor& map);

// The map of the pass of this module with these moments, bit for bit, found on their device without waiting for it.
// Where several have them, a backward pass asks for the latest first, and so they are given. Throws c10::Error if there
// is none; on another device than the CPU, that device fails its assertion.
[[nodiscard]] at::Tensor find_pass(const at::Tensor& alpha, const at::Tensor& moments);

}  // namespace anact::ops
