#include "ops/anact.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "ops/arguments.h"
#include "ops/tensors.h"

namespace anact::ops {

TORCH_LIBRARY(anact, m) {
  m.def("measure(Tensor input, str activation, float[] parameters, Tensor? unless=None) -> Tensor moments");
  m.def(
      "factors(Tensor alpha, Tensor output_mean, Tensor output_square, Tensor input_variance, Tensor backward_gain, "
      "Tensor num_batches_tracked, Tensor? moments, str options) -> Tensor map");
  m.def(
      "apply(Tensor input, Tensor map, str activation, float[] parameters, bool measure) "
      "-> (Tensor output, Tensor moments)");
  m.def(
      "apply_backward(Tensor grad, Tensor input, Tensor map, str activation, float[] parameters) "
      "-> (Tensor grad_input, Tensor grad_map)");
  m.def(
      "update_(Tensor(a!) output_mean, Tensor(b!) output_square, Tensor(c!) input_variance, Tensor(d!) backward_gain, "
      "Tensor(e!) num_batches_tracked, Tensor(f!) num_batches_skipped, Tensor moments, Tensor alpha, Tensor map, "
      "str options) -> ()");
  m.def(
      "step(Tensor input, Tensor alpha, Tensor(a!) output_mean, Tensor(b!) output_square, Tensor(c!) input_variance, "
      "Tensor(d!) backward_gain, Tensor(e!) num_batches_tracked, Tensor(f!) num_batches_skipped, str activation, "
      "float[] parameters, str options) -> Tensor");
  m.def(
      "evaluate(Tensor input, Tensor alpha, Tensor output_mean, Tensor output_square, Tensor input_variance, "
      "Tensor backward_gain, str activation, float[] parameters, str options) -> Tensor");
}

namespace {

// The dispatcher's own view type, which is not std::string_view.
c10::string_view name_of(const Activation& activation) {
  const auto name = activation_info(activation.kind).name;
  return {name.data(), name.size()};
}

}  // namespace

at::Tensor measure(const at::Tensor& input, const Activation& activation, const std::optional<at::Tensor>& unless) {
  static const auto handle = find_operator<MeasureOperator>("anact::measure");
  return handle.call(input, name_of(activation), encode_parameters(activation), unless);
}

at::Tensor factors(const at::Tensor& alpha, const RunningStatistics& running, const std::optional<at::Tensor>& moments,
                   const Options& options) {
  static const auto handle = find_operator<FactorsOperator>("anact::factors");
  return handle.call(alpha, running.output_mean, running.output_square, running.input_variance, running.backward_gain,
                     running.num_batches_tracked, moments, encode_options(options));
}

std::tuple<at::Tensor, at::Tensor> apply(const at::Tensor& input, const at::Tensor& map, const Activation& activation,
                                         bool measure) {
  static const auto handle = find_operator<ApplyOperator>("anact::apply");
  return handle.call(input, map, name_of(activation), encode_parameters(activation), measure);
}

std::tuple<at::Tensor, at::Tensor> apply_backward(const at::Tensor& grad, const at::Tensor& input,
                                                  const at::Tensor& map, const Activation& activation) {
  static const auto handle = find_operator<ApplyBackwardOperator>("anact::apply_backward");
  return handle.call(grad, input, map, name_of(activation), encode_parameters(activation));
}

void update(const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
            const at::Tensor& alpha, const at::Tensor& map, const Options& options) {
  static const auto handle = find_operator<UpdateOperator>("anact::update_");
  handle.call(running.output_mean, running.output_square, running.input_variance, running.backward_gain,
              running.num_batches_tracked, num_skipped, moments, alpha, map, encode_options(options));
}

Moments moments_of(const at::Tensor& input, const Activation& activation) {
  return to_moments(measure(input, activation).cpu());
}

}  // namespace anact::ops
