#include "ops/step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/record_function.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ops/autograd/derivatives.h"
#include "ops/cpu/anact.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/nvidia.h"
#include "ops/fallback/anact.h"
#include "ops/passes.h"

namespace anact::ops {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// Nodes are owned by an intrusive_ptr since PyTorch 2.13 and by a shared_ptr before.
template <class T>
auto make_node() {
  if constexpr (std::is_base_of_v<c10::intrusive_ptr_target, T>) {
    return c10::make_intrusive<T>();
  } else {
    // PyTorch's own way to delete a node, which does not recurse through a deep graph; found by its argument's type.
    return std::shared_ptr<T>(new T, [](T* node) { deleteNode(node); });
  }
}

// The same value as a function of alpha.
at::Tensor map_of(const at::Tensor& map, const at::Tensor& alpha) {
  const auto moved = kAlphaRange * at::tanh(alpha.to(at::kDouble).reshape({}));
  const auto change = moved - moved.detach();
  return at::stack({map[0] + change, map[1] - map[2] * change, map[2]});
}

// Whether the call goes to a device and to autograd alone, and nobody looks on between.
bool unobserved(const at::Tensor& input) {
  const auto keys = (input.key_set() | c10::impl::tls_local_dispatch_key_set().included_) - c10::default_included_set -
                    c10::autograd_dispatch_keyset_with_ADInplaceOrView - c10::autocast_dispatch_keyset;
  const auto key = keys.highestPriorityTypeId();
  return key == c10::DispatchKey::CPU || key == c10::DispatchKey::CUDA;
}

TensorPair backward_of(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& map,
                       const Activation& activation) {
  // By the fused kernels, without the dispatcher.
  if (!at::GradMode::is_enabled() && alpha.device() == input.device() && unobserved(input) && unobserved(grad)) {
    if (input.is_cpu() && cpu::fused(input, activation)) {
      return cpu::step_backward(grad, input, alpha, map, activation);
    }
    static constexpr auto kBackward = kernels::cuda::Kernel::backward;
    if (auto* gpu = cuda::device_with({&kBackward, 1}, input.device(), input.scalar_type(), activation.kind)) {
      check_backward(grad, input, map);
      return cuda::step_backward(*gpu, grad, input, alpha, map, activation);
    }
  }
  auto [grad_input, grad_map] =
      apply_backward(grad, input, at::GradMode::is_enabled() ? map_of(map, alpha) : map, activation);
  return {std::move(grad_input), fallback::grad_alpha(grad_map, alpha, map)};
}

TensorPair backward_of(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& map,
                       const CustomActivation& activation) {
  const auto functions = fallback::to_functions(activation);
  auto [grad_input, grad_map] =
      at::GradMode::is_enabled() ? fallback::apply_backward_differentiable(grad, input, map_of(map, alpha), functions)
                                 : fallback::apply_backward(grad, input, map, functions);
  return {std::move(grad_input), fallback::grad_alpha(grad_map, alpha, map)};
}

// A node of its own instead of torch::autograd::Function, whose bookkeeping costs 3 us.
template <class AnyActivation>
class StepBackward : public torch::autograd::Node {
 public:
  void save(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& map, const AnyActivation& activation) {
    input_ = SavedVariable(input, false);
    alpha_ = SavedVariable(alpha, false);
    map_ = SavedVariable(map, false);
    activation_ = activation;
  }

  variable_list apply(variable_list&& gradients) override {
    at::Tensor input, alpha, map;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      input = input_.unpack();
      alpha = alpha_.unpack();
      map = map_.unpack();
    }
    return differentiate(gradients, input, alpha, map, activation_, needed());
  }

  std::string name() const override { return "AnactBackward"; }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    input_.reset_data();
    alpha_.reset_data();
    map_.reset_data();
  }

 protected:
  // Whether the gradients of input and of alpha are asked for.
  [[nodiscard]] std::array<bool, 2> needed() const {
    return {task_should_compute_output(0), task_should_compute_output(1)};
  }

  static variable_list differentiate(const variable_list& gradients, const at::Tensor& input, const at::Tensor& alpha,
                                     const at::Tensor& map, const AnyActivation& activation,
                                     const std::array<bool, 2>& needed) {
    variable_list result(2);
    if (!gradients[0].defined()) return result;
    auto [grad_input, grad_alpha] = backward_of(gradients[0], input, alpha, map, activation);
    if (needed[0]) result[0] = std::move(grad_input);
    if (needed[1]) result[1] = std::move(grad_alpha);
    return result;
  }

  SavedVariable input_;
  SavedVariable alpha_;
  SavedVariable map_;
  AnyActivation activation_;
};

// The same for compiled autograd too, whose graphs can hold an operator but not a user's functions.
class OperatorBackward final : public StepBackward<Activation> {
 public:
  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs& arguments) const override {
    for (const auto* saved : {&input_, &alpha_, &map_}) arguments.collect(*saved, false);
    arguments.collect(static_cast<std::int64_t>(activation_.kind));
    for (const double parameter : activation_.parameters) arguments.collect(parameter);
  }

  variable_list apply_with_saved(const variable_list& gradients,
                                 torch::dynamo::autograd::SwapSavedVariables& swap) override {
    for (auto* saved : {&input_, &alpha_, &map_}) swap.before(*saved);
    // A call of apply_functional goes into the graph: the gradients are stand-ins here, without a shape.
    torch::dynamo::autograd::PackedArgs arguments;
    for (const auto* saved : {&input_, &alpha_, &map_}) arguments.pack(saved->unpack());
    arguments.pack(static_cast<std::int64_t>(activation_.kind));
    arguments.pack(std::vector<double>(activation_.parameters.begin(), activation_.parameters.end()));
    for (const bool need : needed()) arguments.pack(need);
    const auto values = arguments.vec();
    std::vector<at::TypePtr> types;
    for (const auto& value : values) types.push_back(value.isTensor() ? at::TensorType::get() : value.type());
    const auto metadata =
        torch::dynamo::autograd::IValuePacker<std::vector<std::optional<torch::autograd::InputMetadata>>>::pack(
            torch::dynamo::autograd::get_input_metadata(next_edges()));
    const auto& python = torch::dynamo::autograd::getPyCompilerInterface();
    const auto function = python->bind_function(swap.get_py_compiler(), name(), &apply_functional, types,
                                                /*is_custom_function=*/true, /*is_traceable=*/true);
    auto result =
        python->call_function(swap.get_py_compiler(), "apply_functional", function, gradients, values, metadata);
    for (auto* saved : {&input_, &alpha_, &map_}) swap.after(*saved);
    return result;
  }

 private:
  static variable_list apply_functional(const variable_list& gradients, const std::vector<c10::IValue>& values) {
    torch::dynamo::autograd::PackedArgs arguments(values);
    const auto input = arguments.unpack<at::Tensor>();
    const auto alpha = arguments.unpack<at::Tensor>();
    const auto map = arguments.unpack<at::Tensor>();
    Activation activation{.kind = static_cast<ActivationKind>(arguments.unpack<std::int64_t>())};
    const auto parameters = arguments.unpack<std::vector<double>>();
    std::copy(parameters.begin(), parameters.end(), activation.parameters.begin());
    const bool need_input = arguments.unpack<bool>();
    const bool need_alpha = arguments.unpack<bool>();
    return differentiate(gradients, input, alpha, map, activation, {need_input, need_alpha});
  }
};

// Makes the output a differentiable function of input and alpha.
template <class Node, class AnyActivation>
void record(const StepResult& result, const at::Tensor& input, const at::Tensor& alpha,
            const AnyActivation& activation) {
  auto node = make_node<Node>();
  node->set_next_edges(torch::autograd::collect_next_edges(input, alpha));
  node->save(input, alpha, result.map, activation);
  torch::autograd::set_history(result.output, node);
}

// The operators below autograd, for any activation.

at::Tensor measure_below(const at::Tensor& input, const Activation& activation) {
  const at::AutoDispatchBelowADInplaceOrView below;
  return measure(input, activation);
}
at::Tensor measure_below(const at::Tensor& input, const CustomActivation& activation) {
  const at::NoGradGuard no_grad;
  return fallback::measure(input, fallback::to_functions(activation));
}

at::Tensor apply_below(const at::Tensor& input, const at::Tensor& map, const Activation& activation) {
  const at::AutoDispatchBelowADInplaceOrView below;
  return std::get<0>(apply(input, map, activation, /*measure=*/false));
}
at::Tensor apply_below(const at::Tensor& input, const at::Tensor& map, const CustomActivation& activation) {
  const at::NoGradGuard no_grad;
  return std::get<0>(fallback::apply(input, map, fallback::to_functions(activation), /*measure=*/false));
}

// Where no kernel measures while it applies, one pass measures for the factors and for the update.
template <class AnyActivation>
StepResult step_below(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                      const at::Tensor& num_skipped, const AnyActivation& activation, const Options& options,
                      bool training) {
  const bool measures = training && options.updates(true);
  StepResult result;
  if (measures) result.moments = measure_below(input, activation);
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    result.map = factors(alpha, running, measures ? std::optional(result.moments) : std::nullopt, options);
  }
  result.output = apply_below(input, result.map, activation);
  if (measures) {
    const at::AutoDispatchBelowADInplaceOrView below;
    update(running, num_skipped, result.moments, alpha, result.map, options);
  }
  return result;
}

void check_step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const Options& options) {
  check_input(input);
  check_device(input, running.output_mean, "statistics are on");
  check_device(input, alpha, "parameter alpha is on");
  check_factors(alpha, running, std::nullopt, options);
  check_counts(running, num_skipped);
}

// Runs compute() and makes its output a differentiable function of input and alpha.
template <class Node, class AnyActivation, class Compute>
StepResult differentiated(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                          const at::Tensor& num_skipped, const AnyActivation& activation, bool training,
                          const Compute& compute) {
  const bool differentiate = differentiates({&input, &alpha});
  const StepResult result = compute();
  if (training) mark_updated(running, num_skipped);
  if (differentiate) record<Node>(result, input, alpha, activation);
  return result;
}

// Shows the call to those who observe operators. arguments() and compute()'s outputs are made for them alone.
template <class Compute, class Arguments>
StepResult shown(const char* name, const Arguments& arguments, const Compute& compute) {
  auto observers = at::getStepCallbacksUnlessEmpty(at::RecordScope::FUNCTION);
  if (!observers) return compute();
  at::RecordFunction guard(std::move(*observers));
  const std::vector<c10::IValue> inputs = arguments();
  guard.before(name, c10::ArrayRef<const c10::IValue>(inputs.data(), inputs.size()));
  const StepResult result = compute();
  if (guard.needsOutputs()) guard.setOutputs(std::vector<c10::IValue>{result.output, result.map, result.moments});
  return result;
}

std::string activation_name(const Activation& activation) { return std::string(activation_info(activation.kind).name); }
c10::IValue parameters_of(const Activation& activation) { return encode_parameters(activation).vec(); }

std::string activation_name(const CustomActivation& activation) { return activation.name; }
c10::IValue parameters_of(const CustomActivation&) { return {}; }

// As StepArgument has them.
template <class AnyActivation>
std::vector<c10::IValue> step_arguments(const at::Tensor& input, const at::Tensor& alpha,
                                        const AnyActivation& activation, const Options& options, bool training) {
  return {input, alpha, activation_name(activation), parameters_of(activation), to_text(options), training};
}

at::Tensor scaled(const at::Tensor& output, double scale) { return scale == 1 ? output : output * scale; }

// Whether one pass applies and measures.
bool applies_and_measures(const at::Tensor& input, const Activation& activation) {
  static constexpr auto kBoth = kernels::cuda::Kernel::apply_measure;
  return input.is_cpu() ||
         cuda::device_with({&kBoth, 1}, input.device(), input.scalar_type(), activation.kind) != nullptr;
}

// The operators one after the other, for whoever traces.
StepResult traced_step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                       const at::Tensor& num_skipped, const Activation& activation, const Options& options,
                       bool training) {
  if (!training || !options.updates(true)) {
    const auto map = factors(alpha, running, std::nullopt, options);
    return {std::get<0>(apply(input, map, activation, /*measure=*/false)), map, {}};
  }
  const bool late = !options.uses_batch(kStartBatches) && applies_and_measures(input, activation);
  auto moments = measure(input, activation, late ? std::optional(running.num_batches_tracked) : std::nullopt);
  const auto map = factors(alpha, running, moments, options);
  auto [output, measured] = apply(input, map, activation, late);
  update(running, num_skipped, late ? measured : moments, alpha, map, options);
  return {output, map, {}};
}

at::Tensor step_operator(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& output_mean,
                         const at::Tensor& output_square, const at::Tensor& input_variance,
                         const at::Tensor& backward_gain, const at::Tensor& num_batches_tracked,
                         const at::Tensor& num_skipped, Name activation, Parameters parameters, Name options) {
  const RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  return traced_step(input, alpha, running, num_skipped, decode_activation(activation, parameters),
                     decode_options(options), /*training=*/true)
      .output;
}

TORCH_LIBRARY_IMPL(anact, CompositeImplicitAutograd, m) { m.impl("step", &step_operator); }

}  // namespace

at::Tensor step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const Activation& activation, const Options& options, bool training) {
  const auto arguments = [&] { return step_arguments(input, alpha, activation, options, training); };
  const auto compute = [&] {
    if (!unobserved(input)) return traced_step(input, alpha, running, num_skipped, activation, options, training);
    check_step(input, alpha, running, num_skipped, options);
    return differentiated<OperatorBackward>(input, alpha, running, num_skipped, activation, training, [&] {
      if (input.is_cpu() && cpu::fused(input, activation)) {
        return cpu::step(input, alpha, running, num_skipped, activation, options, training);
      }
      if (auto* gpu = cuda::device_with(cuda::kernels_of_step(options, training), input.device(), input.scalar_type(),
                                        activation.kind)) {
        const at::AutoDispatchBelowADInplaceOrView below;
        return cuda::step(*gpu, input, alpha, running, num_skipped, activation, options, training);
      }
      return step_below(input, alpha, running, num_skipped, activation, options, training);
    });
  };
  return shown(kStepName, arguments, compute).output;
}

at::Tensor step(const at::Tensor& input, const at::Tensor& alpha, const RunningStatistics& running,
                const at::Tensor& num_skipped, const CustomActivation& activation, const Options& options,
                bool training) {
  check_step(input, alpha, running, num_skipped, options);
  const auto arguments = [&] { return step_arguments(input, alpha, activation, options, training); };
  const auto compute = [&] {
    return differentiated<StepBackward<CustomActivation>>(
        input, alpha, running, num_skipped, activation, training,
        [&] { return step_below(input, alpha, running, num_skipped, activation, options, training); });
  };
  return shown(kStepName, arguments, compute).output;
}

at::Tensor plain(const at::Tensor& input, const Activation& activation, double scale) {
  const auto arguments = [&] {
    return std::vector<c10::IValue>{input, activation_name(activation), parameters_of(activation), scale, {}};
  };
  const auto compute = [&] { return StepResult{scaled(fallback::value(activation, input), scale), {}, {}}; };
  return shown(kPlainName, arguments, compute).output;
}

at::Tensor plain(const at::Tensor& input, const at::Tensor& learnt, std::string_view name, double scale,
                 const std::function<at::Tensor()>& value) {
  const auto arguments = [&] { return std::vector<c10::IValue>{input, std::string(name), {}, scale, learnt}; };
  return shown(kPlainName, arguments, [&] { return StepResult{scaled(value(), scale), {}, {}}; }).output;
}

}  // namespace anact::ops
