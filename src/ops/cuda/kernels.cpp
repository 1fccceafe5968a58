#include "ops/cuda/kernels.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <utility>

#include "math/step.h"
#include "ops/passes.h"

namespace anact::ops::cuda {
namespace {

using kernels::cuda::ElementType;
using kernels::cuda::Kernel;

constexpr std::int64_t kMapSize = 3;

// A vector of float64 beside the tensor.
at::Tensor doubles(std::int64_t size, const at::Tensor& beside) {
  return at::empty({size}, at::TensorOptions().dtype(at::kDouble).device(beside.device()));
}

double* data(const at::Tensor& tensor) { return tensor.mutable_data_ptr<double>(); }

kernels::cuda::Scalar scalar(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr(), element_type(tensor.scalar_type()).value()};
}

kernels::cuda::RunningStatistics encode(const RunningStatistics& running, const at::Tensor* num_skipped = nullptr) {
  return {scalar(running.output_mean),
          scalar(running.output_square),
          scalar(running.input_variance),
          scalar(running.backward_gain),
          running.num_batches_tracked.mutable_data_ptr<std::int64_t>(),
          num_skipped == nullptr ? nullptr : num_skipped->mutable_data_ptr<std::int64_t>()};
}

template <class Arguments>
void launch(Device& device, Kernel kernel, const at::Tensor& input, const Activation& activation,
            Arguments& arguments) {
  const auto type = element_type(input.scalar_type()).value();
  const auto shape =
      kernels::cuda::launch_shape(kernel, type, static_cast<std::uint64_t>(input.numel()), device.multiprocessors());
  device.launch(kernel, type, activation.kind, shape, &arguments);
}

template <class Arguments>
void launch(Device& device, Kernel kernel, Arguments& arguments) {
  device.launch(kernel, ElementType::float32, ActivationKind::identity, {}, &arguments);
}

kernels::cuda::PassArguments pass(const at::Tensor& dense, const Activation& activation) {
  kernels::cuda::PassArguments arguments;
  arguments.x = dense.const_data_ptr();
  arguments.size = static_cast<std::uint64_t>(dense.numel());
  arguments.activation = kernels::cuda::encode(activation);
  return arguments;
}

// Measures nothing from so many batches on; null: measures always.
struct Limit {
  const at::Tensor* num_batches_tracked = nullptr;
  std::int64_t batches = 0;
};

at::Tensor measure_below(Device& device, const at::Tensor& dense, const Activation& activation, const Limit& limit) {
  auto moments = doubles(kMomentsSize, dense);
  const auto workspace = device.workspace();
  auto arguments = pass(dense, activation);
  arguments.moments = data(moments);
  arguments.workspace = workspace.data;
  if (limit.num_batches_tracked != nullptr) {
    arguments.unless = limit.num_batches_tracked->const_data_ptr<std::int64_t>();
    arguments.limit = limit.batches;
  }
  launch(device, Kernel::measure, dense, activation, arguments);
  return moments;
}

// Whether a step goes by an earlier pass; whether it takes its batch into the statistics.
bool goes_again(const Options& options, bool training) { return training && options.follows() && runs_again(); }
bool takes_batch(const Options& options, bool training) { return training && !runs_again() && options.updates(true); }

// Whether one pass measures and applies once the start is over: `previous` needs the batch's moments before its output
// while that lasts, which the device alone knows.
bool is_late(const Options& options) { return options.updates(false) && !options.uses_batch(kStartBatches); }

at::Tensor backward(Device& device, const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                    const Activation& activation, kernels::cuda::BackwardArguments arguments) {
  const auto dense = to_dense(input);
  const auto g = laid_out_as(dense, grad);
  auto grad_input = at::empty_like(dense);
  const auto workspace = device.workspace();
  arguments.x = dense.const_data_ptr();
  arguments.g = g.const_data_ptr();
  arguments.dx = grad_input.mutable_data_ptr();
  arguments.size = static_cast<std::uint64_t>(dense.numel());
  arguments.map = map.const_data_ptr<double>();
  arguments.workspace = workspace.data;
  arguments.activation = kernels::cuda::encode(activation);
  launch(device, Kernel::backward, dense, activation, arguments);
  return grad_input;
}

}  // namespace

std::optional<ElementType> element_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ElementType::float32;
    case at::kDouble:
      return ElementType::float64;
    case at::kBFloat16:
      return ElementType::bfloat16;
    case at::kHalf:
      return ElementType::float16;
    default:
      return std::nullopt;
  }
}

at::Tensor measure(Device& device, const at::Tensor& input, const Activation& activation,
                   const std::optional<at::Tensor>& unless) {
  const Limit limit{unless && !runs_again() ? &*unless : nullptr, kStartBatches};
  return measure_below(device, to_dense(input), activation, limit);
}

at::Tensor factors(Device& device, const at::Tensor& alpha, const RunningStatistics& running,
                   const std::optional<at::Tensor>& moments, const Options& options) {
  if (moments && runs_again() && options.follows()) return find_pass(alpha, *moments);
  auto map = doubles(kMapSize, running.output_mean);
  kernels::cuda::FactorsArguments arguments;
  arguments.running = encode(running);
  arguments.alpha = scalar(alpha);
  arguments.moments = moments ? moments->const_data_ptr<double>() : nullptr;
  arguments.map = data(map);
  arguments.options = to_step_options(options);
  launch(device, Kernel::factors, arguments);
  return map;
}

TensorPair apply(Device& device, const at::Tensor& input, const at::Tensor& map, const Activation& activation,
                 bool measure) {
  const auto dense = to_dense(input);
  auto output = at::empty_like(dense);
  auto moments = doubles(measure ? kMomentsSize : 0, input);
  auto arguments = pass(dense, activation);
  arguments.y = output.mutable_data_ptr();
  arguments.map = const_cast<double*>(map.const_data_ptr<double>());  // which these kernels only read
  Workspace workspace;
  if (measure) {
    workspace = device.workspace();
    arguments.moments = data(moments);
    arguments.workspace = workspace.data;
  }
  launch(device, measure ? Kernel::apply_measure : Kernel::apply, dense, activation, arguments);
  return {std::move(output), std::move(moments)};
}

TensorPair apply_backward(Device& device, const at::Tensor& grad, const at::Tensor& input, const at::Tensor& map,
                          const Activation& activation) {
  auto grad_map = doubles(kMapSize, input);
  kernels::cuda::BackwardArguments arguments;
  arguments.sums = data(grad_map);
  auto grad_input = backward(device, grad, input, map, activation, arguments);
  return {std::move(grad_input), std::move(grad_map)};
}

void update(Device& device, const RunningStatistics& running, const at::Tensor& num_skipped, const at::Tensor& moments,
            const at::Tensor& alpha, const at::Tensor& map, const Options& options) {
  if (runs_again()) return;
  if (options.follows() && may_run_again()) remember_pass(alpha, moments, map);
  if (!options.updates(true)) return;
  kernels::cuda::UpdateArguments arguments;
  arguments.running = encode(running, &num_skipped);
  arguments.moments = moments.const_data_ptr<double>();
  arguments.options = to_step_options(options);
  launch(device, Kernel::update, arguments);
}

std::span<const Kernel> kernels_of_step(const Options& options, bool training) {
  static constexpr Kernel kAgain[] = {Kernel::measure, Kernel::apply};
  static constexpr Kernel kOnePass[] = {Kernel::measure, Kernel::step_measure};
  static constexpr Kernel kTwoPasses[] = {Kernel::measure, Kernel::step};
  static constexpr Kernel kOfStatistics[] = {Kernel::step};
  if (goes_again(options, training)) return kAgain;
  if (!takes_batch(options, training)) return kOfStatistics;
  return is_late(options) ? std::span(kOnePass) : std::span(kTwoPasses);
}

StepResult step(Device& device, const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const Activation& activation, const Options& options, bool training) {
  const auto dense = to_dense(input);
  if (goes_again(options, training)) {
    const auto map = find_pass(alpha, measure_below(device, dense, activation, {}));
    return {std::get<0>(apply(device, dense, map, activation, /*measure=*/false)), map, {}};
  }
  StepResult result{at::empty_like(dense), doubles(kMapSize, input), {}};
  const bool takes = takes_batch(options, training);
  const bool keeps = takes && options.follows() && may_run_again();
  const bool late = takes && is_late(options);
  at::Tensor moments;
  if (takes) {
    Limit limit;
    if (late) limit = {&running.num_batches_tracked, kStartBatches};
    // `fixed` takes the first batch alone.
    if (!options.updates(false) && !keeps) limit = {&running.num_batches_tracked, 1};
    moments = measure_below(device, dense, activation, limit);
  }
  const auto workspace = device.workspace();
  kernels::cuda::StepArguments arguments;
  arguments.pass = pass(dense, activation);
  arguments.pass.y = result.output.mutable_data_ptr();
  arguments.pass.map = data(result.map);
  arguments.pass.moments = takes ? data(moments) : nullptr;
  arguments.pass.workspace = workspace.data;
  arguments.running = encode(running, &num_skipped);
  arguments.alpha = scalar(alpha);
  arguments.options = to_step_options(options);
  arguments.has_moments = takes;
  arguments.updates = takes;
  launch(device, late ? Kernel::step_measure : Kernel::step, dense, activation, arguments);
  if (keeps) remember_pass(alpha, moments, result.map);
  return result;
}

TensorPair step_backward(Device& device, const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                         const at::Tensor& map, const Activation& activation) {
  auto grad_alpha = at::empty(alpha.sizes(), alpha.options());
  kernels::cuda::BackwardArguments arguments;
  arguments.alpha = scalar(alpha);
  arguments.grad_alpha = grad_alpha.mutable_data_ptr();
  auto grad_input = backward(device, grad, input, map, activation, arguments);
  return {std::move(grad_input), std::move(grad_alpha)};
}

}  // namespace anact::ops::cuda
