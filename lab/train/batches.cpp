#include "train/batches.h"

#include <ATen/ops/from_blob.h>

namespace anact::train {
namespace {

// The loader never changes a batch that it has handed out, and neither do we.
template <class Value>
torch::Tensor view(std::span<const Value> values, at::IntArrayRef sizes, at::IntArrayRef strides, torch::Dtype dtype) {
  return at::from_blob(const_cast<Value*>(values.data()), sizes, strides, torch::TensorOptions(dtype));
}

}  // namespace

Tensors Tensors::slice(std::int64_t begin, std::int64_t end) const {
  Tensors part{.inputs = inputs.slice(0, begin, end), .labels = labels.slice(0, begin, end), .weight = weight};
  if (mixed_labels.defined()) part.mixed_labels = mixed_labels.slice(0, begin, end);
  return part;
}

Tensors to_tensors(const data::Batch& batch, const data::Shape& shape, bool channels_last, torch::Device device) {
  const auto [channels, height, width] = shape;
  const auto values = shape.values();
  const std::array<std::int64_t, 4> sizes{batch.size(), channels, height, width};
  const auto strides = channels_last ? std::array<std::int64_t, 4>{values, 1, width * channels, channels}
                                     : std::array<std::int64_t, 4>{values, height * width, width, 1};
  Tensors tensors{.inputs = view(batch.inputs, sizes, strides, torch::kFloat).to(device),
                  .labels = view(batch.labels, {batch.size()}, {1}, torch::kLong).to(device),
                  .weight = batch.weight};
  if (!batch.mixed_labels.empty()) {
    tensors.mixed_labels = view(batch.mixed_labels, {batch.size()}, {1}, torch::kLong).to(device);
  }
  return tensors;
}

}  // namespace anact::train
