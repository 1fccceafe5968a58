// Moments and maps as the operators pass them: 1-dimensional float64 tensors on the CPU.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <initializer_list>

#include "anact/moments.h"
#include "anact/normalization.h"

namespace anact::ops {

inline at::Tensor to_tensor(std::initializer_list<double> values) {
  auto tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<double>());
  return tensor;
}

inline at::Tensor to_tensor(const Moments& m) {
  return to_tensor({m.count, m.input_mean, m.input_m2, m.output_sum, m.output_square_sum, m.slope_square_sum});
}

inline Moments to_moments(const at::Tensor& tensor) {
  const double* m = tensor.const_data_ptr<double>();
  return {.count = m[0],
          .input_mean = m[1],
          .input_m2 = m[2],
          .output_sum = m[3],
          .output_square_sum = m[4],
          .slope_square_sum = m[5]};
}

// (scale, offset, centre); see ops/anact.h.
inline at::Tensor to_tensor(const Factors& f) { return to_tensor({f.scale, f.offset, f.centre}); }

inline Factors to_factors(const at::Tensor& map) {
  const double* f = map.const_data_ptr<double>();
  return {.scale = f[0], .offset = f[1], .centre = f[2]};
}

}  // namespace anact::ops
