// What the variance probe measures of each layer while a step lasts.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "anact/layer_record.h"
#include "anact/moments.h"
#include "nn/operators.h"
#include "nn/tensor_map.h"

namespace anact::nn {

// What measuring runs is neither recorded nor part of a graph, and has the types of its arguments.
struct Unseen {
  at::DisableRecordFunctionGuard unrecorded;
  at::AutoDispatchBelowAutograd below;
  c10::impl::ExcludeDispatchKeyGuard no_autocast{c10::autocast_dispatch_keyset};
};

[[nodiscard]] Spread spread_of(const Moments& moments);

// 0 for an undefined tensor.
[[nodiscard]] double second_moment_of(const at::Tensor& tensor);

// Whether a tensor has values that can be read here and now: graphs that are being traced have none.
[[nodiscard]] bool has_values(const at::Tensor& tensor);

// The mean over channels of (weight / deviation)^2, which BatchNorm multiplies the gradient's mean square by.
[[nodiscard]] double batch_norm_slope_square(const BatchNormCall& call, const at::Tensor& variance);
// The same by the batch's own variances, but for the projections of BatchNorm with the batch's statistics.
[[nodiscard]] double batch_norm_slope_square(const BatchNormCall& call);

// A layer's row while its step lasts.
struct Row {
  LayerRecord record;
  Moments input;
  Moments output;
  Moments activation;  // of f over the input
  std::vector<std::size_t> input_gradients;
  std::vector<std::size_t> output_gradients;
  at::Tensor dead;
  at::Tensor weight;         // the parameter itself
  at::Tensor weight_before;  // its value before the step
  std::optional<std::size_t> node;
};

// The rows of one step. Gradients are measured by hooks on tensors.
class Measurements {
 public:
  Measurements();

  // The index of the row of this name, made if there is none.
  std::size_t row_of(const std::string& name, LayerKind kind, std::int64_t step);
  [[nodiscard]] std::vector<Row>& rows() { return rows_; }

  // Of a tensor's elements, measured once: what one layer emits another takes in.
  const Moments& moments(const at::Tensor& tensor);

  // Measures a layer's input or output, and their gradients in the backward pass. That of the input is returned.
  const Moments& measure_input(Row& row, const at::Tensor& input);
  void measure_output(Row& row, const at::Tensor& output);
  // Before the optimizer's step. Once for a row. The update is measured of a parameter, not of what is computed from
  // one.
  void measure_weight(Row& row, const at::Tensor& weight, bool parameter);
  // The units that are dead in all calls of the row.
  void measure_dead(Row& row, const at::Tensor& input, const Activation& activation, bool channels_second);

  // Whether a gradient came since this was last asked.
  [[nodiscard]] bool take_backward();

  // Ends the step: what the hooks bring later is not looked at.
  void close();

  // Fills in the records of all rows.
  void complete();

 private:
  struct Gradients;

  // Where the gradient of a tensor is measured; none for one that gets none.
  std::optional<std::size_t> slot(const at::Tensor& tensor);
  // Of all the slots together.
  [[nodiscard]] Moments gradient(const std::vector<std::size_t>& slots) const;

  std::vector<Row> rows_;
  std::unordered_map<std::string, std::size_t> row_of_;
  TensorMap<Moments> moments_;
  TensorMap<std::size_t> slots_;
  std::vector<std::pair<WeakTensor, unsigned>> leaf_hooks_;
  std::shared_ptr<Gradients> gradients_;
};

}  // namespace anact::nn
