// What every backend of an operator shares: its arguments as the dispatcher passes them, checked and decoded.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/string_view.h>

#include <optional>
#include <string_view>
#include <tuple>

#include "anact/activation.h"
#include "anact/normalization.h"
#include "ops/anact.h"

// Argument lists of the schemas, so that the backends cannot drift apart.
#define ANACT_FORWARD_PARAMETERS                                                                                    \
  const at::Tensor &input, const at::Tensor &alpha, const at::Tensor &output_mean, const at::Tensor &output_square, \
      const at::Tensor &input_variance, const at::Tensor &backward_gain, const at::Tensor &num_batches_tracked,     \
      c10::string_view activation, at::ArrayRef<double> parameters, c10::string_view options, bool training,        \
      const std::optional<at::Tensor>&known_factors
#define ANACT_FORWARD_ARGUMENTS                                                                             \
  input, alpha, output_mean, output_square, input_variance, backward_gain, num_batches_tracked, activation, \
      parameters, options, training, known_factors
#define ANACT_EVALUATE_PARAMETERS                                                                                   \
  const at::Tensor &input, const at::Tensor &alpha, const at::Tensor &output_mean, const at::Tensor &output_square, \
      const at::Tensor &input_variance, const at::Tensor &backward_gain, c10::string_view activation,               \
      at::ArrayRef<double> parameters, c10::string_view options
#define ANACT_BACKWARD_PARAMETERS                                                                      \
  const at::Tensor &grad, const at::Tensor &input, const at::Tensor &alpha, const at::Tensor &factors, \
      c10::string_view activation, at::ArrayRef<double> parameters
#define ANACT_BACKWARD_ARGUMENTS grad, input, alpha, factors, activation, parameters
#define ANACT_UPDATE_PARAMETERS                                                                              \
  const at::Tensor &output_mean, const at::Tensor &output_square, const at::Tensor &input_variance,          \
      const at::Tensor &backward_gain, const at::Tensor &num_batches_tracked, const at::Tensor &num_skipped, \
      const at::Tensor &moments, c10::string_view options
#define ANACT_RUNNING \
  { output_mean, output_square, input_variance, backward_gain, num_batches_tracked }

namespace anact::ops {

using ForwardResult = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using BackwardResult = std::tuple<at::Tensor, at::Tensor>;

// What anact::forward is given beside the activation and the tensors.
struct ForwardConfiguration {
  Options options;
  bool training = false;
  std::optional<at::Tensor> known_factors;

  // Whether the factors need this batch's moments, so that the output takes a second pass; `first`: no batch has been
  // tracked before.
  [[nodiscard]] bool uses_batch(bool first) const {
    if (!training || known_factors || options.statistics == StatisticsSource::fixed) return false;
    return first || options.statistics != StatisticsSource::previous;
  }
};

// The activation of a name of the catalogue and all its parameters. Throws c10::Error for an unknown name or a wrong
// count.
[[nodiscard]] Activation decode_activation(c10::string_view name, at::ArrayRef<double> parameters);

// The parameters as the schema takes them: as many as the activation has.
[[nodiscard]] at::ArrayRef<double> encode_parameters(const Activation& activation);

// The options as the schemas take them, and back. Both remember what they did last: a step costs no parsing. The text
// lives until the thread's next call. Throws std::invalid_argument as parse_options does; the checks below validate.
[[nodiscard]] const Options& decode_options(c10::string_view text);
[[nodiscard]] c10::string_view encode_options(const Options& options);

// Each throws c10::Error or std::invalid_argument that says what is wrong. In evaluation num_batches_tracked has no
// meaning.
void check_evaluate(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                    const Options& options);
void check_forward(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                   const ForwardConfiguration& configuration);

// Decodes and checks all arguments of anact::forward but the activation.
[[nodiscard]] ForwardConfiguration decode_forward(ANACT_FORWARD_PARAMETERS);

// Throws c10::Error that says what is wrong with the tensors of anact::backward.
void check_backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& factors);

// Throws c10::Error that says what is wrong with the arguments of anact::update_statistics_.
void check_update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                  const Options& options);

// An uninitialized tensor as anact::forward returns it.
[[nodiscard]] at::Tensor empty_output(const at::Tensor& input);

}  // namespace anact::ops
