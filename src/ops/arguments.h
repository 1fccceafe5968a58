// What every backend of an operator shares: its arguments as the dispatcher passes them, checked and decoded.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/string_view.h>

#include <optional>
#include <tuple>

#include "anact/activation.h"
#include "ops/anact.h"

namespace anact::ops {

// The operators' types in C++, one for each schema.
using Parameters = at::ArrayRef<double>;
using Name = c10::string_view;
using TensorPair = std::tuple<at::Tensor, at::Tensor>;
using MeasureOperator = at::Tensor(const at::Tensor& input, Name activation, Parameters parameters,
                                   const std::optional<at::Tensor>& unless);
using FactorsOperator = at::Tensor(const at::Tensor& alpha, const at::Tensor& output_mean,
                                   const at::Tensor& output_square, const at::Tensor& input_variance,
                                   const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked,
                                   const std::optional<at::Tensor>& moments, Name options);
using ApplyOperator = TensorPair(const at::Tensor& input, const at::Tensor& map, Name activation, Parameters parameters,
                                 bool measure);
using ApplyBackwardOperator = TensorPair(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                                         Name activation, Parameters parameters);
using UpdateOperator = void(const at::Tensor& output_mean, const at::Tensor& output_square,
                            const at::Tensor& input_variance, const at::Tensor& backward_gain,
                            const at::Tensor& num_batches_tracked, const at::Tensor& num_skipped,
                            const at::Tensor& moments, const at::Tensor& alpha, const at::Tensor& map, Name options);
template <class Operator>
c10::TypedOperatorHandle<Operator> find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Operator>();
}

// The activation of a name of the catalogue and all its parameters. Throws c10::Error for an unknown name or a wrong
// count.
[[nodiscard]] Activation decode_activation(Name name, Parameters parameters);

// The parameters as the schemas take them: as many as the activation has.
[[nodiscard]] Parameters encode_parameters(const Activation& activation);

// The options as the schemas take them, and back. Both remember what they did last: a step costs no parsing. The text
// lives until the thread's next call. Throws std::invalid_argument as parse_options does; the checks below validate.
[[nodiscard]] const Options& decode_options(Name text);
[[nodiscard]] Name encode_options(const Options& options);

// Each throws c10::Error or std::invalid_argument that says what is wrong with an operator's arguments.
void check_input(const at::Tensor& input);
void check_unless(const std::optional<at::Tensor>& unless);
// num_batches_tracked may be undefined.
void check_factors(const at::Tensor& alpha, const RunningStatistics& running, const std::optional<at::Tensor>& moments,
                   const Options& options);
void check_map(const at::Tensor& map);
void check_device(const at::Tensor& input, const at::Tensor& other, const char* is_on);
void check_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map);
void check_counts(const RunningStatistics& running, const at::Tensor& num_skipped);
void check_update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                  const at::Tensor& map, const Options& options);

// The memory of a tensor, each element once and in its order.
[[nodiscard]] at::Tensor to_dense(const at::Tensor& tensor);

// The gradient laid out as the dense input, so that element i of both is the same element.
[[nodiscard]] at::Tensor laid_out_as(const at::Tensor& dense, const at::Tensor& grad);

// An uninitialized tensor as anact::apply returns it.
[[nodiscard]] at::Tensor empty_output(const at::Tensor& input);

}  // namespace anact::ops
