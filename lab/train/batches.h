// Batches as tensors.
#pragma once

#include <torch/types.h>

#include "data/loader.h"

namespace anact::train {

struct Tensors {
  torch::Tensor inputs;             // float32, samples x channels x height x width
  torch::Tensor labels;             // int64, samples
  torch::Tensor mixed_labels = {};  // as labels; undefined unless the batch is mixed
  double weight = 1;                // of `labels` in the loss

  [[nodiscard]] std::int64_t size() const { return labels.size(0); }
  // The samples from `begin` to before `end`.
  [[nodiscard]] Tensors slice(std::int64_t begin, std::int64_t end) const;
};

// The batch on a device. On the CPU the tensors are views of the loader's memory.
[[nodiscard]] Tensors to_tensors(const data::Batch& batch, const data::Shape& shape, bool channels_last,
                                 torch::Device device);

}  // namespace anact::train
