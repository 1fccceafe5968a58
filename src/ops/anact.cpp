#include "ops/anact.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "ops/arguments.h"

namespace anact::ops {

TORCH_LIBRARY(anact, m) {
  m.def(
      "forward(Tensor input, Tensor alpha, Tensor output_mean, Tensor output_square, Tensor input_variance, "
      "Tensor backward_gain, Tensor num_batches_tracked, str activation, float[] parameters, str options, "
      "bool training, Tensor? known_factors=None) -> (Tensor output, Tensor moments, "
      "Tensor factors)");
  m.def(
      "backward(Tensor grad, Tensor input, Tensor alpha, Tensor factors, str activation, float[] parameters) "
      "-> (Tensor grad_input, Tensor grad_alpha)");
  m.def(
      "evaluate(Tensor input, Tensor alpha, Tensor output_mean, Tensor output_square, Tensor input_variance, "
      "Tensor backward_gain, str activation, float[] parameters, str options) -> Tensor");
  m.def(
      "update_statistics_(Tensor(a!) output_mean, Tensor(b!) output_square, Tensor(c!) input_variance, "
      "Tensor(d!) backward_gain, Tensor(e!) num_batches_tracked, Tensor(f!) num_skipped, Tensor moments, "
      "str options) -> ()");
}

namespace {

// The dispatcher's own view type, which is not std::string_view.
c10::string_view view(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(const at::Tensor& input, const at::Tensor& alpha,
                                                       const RunningStatistics& running, const Activation& activation,
                                                       const Options& options, bool training,
                                                       const std::optional<at::Tensor>& known_factors) {
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::forward", "")
                                 .typed<ForwardResult(ANACT_FORWARD_PARAMETERS)>();
  return handle.call(input, alpha, running.output_mean, running.output_square, running.input_variance,
                     running.backward_gain, running.num_batches_tracked, view(activation_info(activation.kind).name),
                     encode_parameters(activation), encode_options(options), training, known_factors);
}

std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                                            const at::Tensor& factors, const Activation& activation) {
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::backward", "")
                                 .typed<BackwardResult(ANACT_BACKWARD_PARAMETERS)>();
  return handle.call(grad, input, alpha, factors, view(activation_info(activation.kind).name),
                     encode_parameters(activation));
}

void update_statistics(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
                       const Options& options) {
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::update_statistics_", "")
                                 .typed<void(ANACT_UPDATE_PARAMETERS)>();
  handle.call(running.output_mean, running.output_square, running.input_variance, running.backward_gain,
              running.num_batches_tracked, num_skipped, moments, encode_options(options));
}

}  // namespace anact::ops
