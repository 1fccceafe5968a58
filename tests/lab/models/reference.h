// Layers in plain operations of torch, for the tests of networks.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "models/norm.h"

namespace anact::models::test {

// What standardized() is, by sums over each row.
inline torch::Tensor standardized_by_sums(const torch::Tensor& weight, const torch::Tensor& gain) {
  const auto rows = weight.flatten(1);
  const auto centred = rows - rows.sum(1, true) / static_cast<double>(rows.size(1));
  const auto squares = centred.pow(2).sum(1, true);  // n Var
  const auto held = torch::where(squares < 1e-4, torch::full_like(squares, 1e-4), squares);
  return (gain.unsqueeze(1) * centred / held.sqrt()).view_as(weight);
}

// x less its mean, by its standard deviation, over `dims`.
inline torch::Tensor deviations(const torch::Tensor& x, torch::IntArrayRef dims) {
  const auto centred = x - x.mean(dims, true);
  return centred / (centred.square().mean(dims, true) + 1e-5).sqrt();
}

// A norm in training with scale 1 and shift 0. x: batch x channels x …
inline torch::Tensor normed_by_formula(Norm norm, const torch::Tensor& x, std::int64_t groups) {
  if (norm == Norm::none) return x;
  std::vector<std::int64_t> places;
  for (std::int64_t dim = 2; dim < x.dim(); ++dim) places.push_back(dim);
  auto batch = places;
  batch.insert(batch.begin(), 0);
  if (norm == Norm::batch) return deviations(x, batch);
  if (norm == Norm::layer) return deviations(x.flatten(1), 1).view_as(x);
  return deviations(x.reshape({x.size(0), groups, -1}), 2).view_as(x);
}

}  // namespace anact::models::test
