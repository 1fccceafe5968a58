// What training's forward passes found and used, for those that run again.
//
// Activation checkpointing, and a captured graph that computes activations anew, run a forward pass a second time
// within the backward pass. By then the running statistics have moved; the same gradient needs the same factors, and
// the statistics must not move twice. The operators see to both themselves, so that it holds however they are called.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "anact/moments.h"
#include "anact/normalization.h"

namespace anact::ops {

// Whether this pass runs within a backward pass.
[[nodiscard]] bool runs_again();

// Whether this pass can be one that runs again: it keeps no graph, or hooks take what it saves. Of any other pass
// nothing need be kept.
[[nodiscard]] bool may_run_again();

// Keeps a training pass: the statistics by which its module is known, what it found, what it used. The oldest of 4096
// is forgotten. Safe from any thread.
void remember_pass(const at::Tensor& output_mean, const Moments& moments, const Factors& factors);
// The same on another device, which is not waited for.
void remember_pass(const at::Tensor& output_mean, const at::Tensor& moments, const at::Tensor& factors);

// The factors of the pass that runs again: of those with these statistics and this number of elements the one whose
// moments are nearest (a compiler may round the input otherwise the second time), the latest of equals; else of those
// of any module the latest with the same moments, since a captured graph may have copied the statistics. Two passes of
// one module over the same values cannot be told apart: the later one's factors serve for both.
[[nodiscard]] std::optional<Factors> find_pass(const at::Tensor& output_mean, const Moments& moments);

}  // namespace anact::ops
