// Gradients. The factors are constants of the step except for alpha, so the backward pass is exact.

#include "ops/fallback/anact.h"

#include <ATen/FuncTorchTLS.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "ops/arguments.h"

namespace anact::ops {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

ForwardResult forward_below(ANACT_FORWARD_PARAMETERS) {
  const at::AutoDispatchBelowADInplaceOrView below;
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::forward", "")
                                 .typed<ForwardResult(ANACT_FORWARD_PARAMETERS)>();
  return handle.call(ANACT_FORWARD_ARGUMENTS);
}

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

// A node of its own instead of torch::autograd::Function, whose bookkeeping for forward's many arguments costs 3 us.
template <class AnyActivation>
class ForwardBackward : public torch::autograd::Node {
 public:
  void save(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& factors,
            const AnyActivation& activation) {
    input_ = SavedVariable(input, false);
    alpha_ = SavedVariable(alpha, false);
    factors_ = SavedVariable(factors, false);
    activation_ = activation;
  }

  variable_list apply(variable_list&& gradients) override {
    at::Tensor input, alpha, factors;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      input = input_.unpack();
      alpha = alpha_.unpack();
      factors = factors_.unpack();
    }
    return differentiate(gradients, input, alpha, factors, activation_, needed());
  }

  std::string name() const override { return "AnactBackward"; }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    input_.reset_data();
    alpha_.reset_data();
    factors_.reset_data();
  }

 protected:
  // Whether the gradients of input and of alpha are asked for.
  [[nodiscard]] std::array<bool, 2> needed() const {
    return {task_should_compute_output(0), task_should_compute_output(1)};
  }

  static variable_list differentiate(const variable_list& gradients, const at::Tensor& input, const at::Tensor& alpha,
                                     const at::Tensor& factors, const AnyActivation& activation,
                                     const std::array<bool, 2>& needed) {
    if (!gradients[0].defined()) return variable_list(2);
    auto [grad_input, grad_alpha] = ops::backward(gradients[0], input, alpha, factors, activation);
    return {needed[0] ? std::move(grad_input) : at::Tensor(), needed[1] ? std::move(grad_alpha) : at::Tensor()};
  }

  SavedVariable input_;
  SavedVariable alpha_;
  SavedVariable factors_;
  AnyActivation activation_;
};

// The same for compiled autograd too, whose graphs can hold an operator but not a user's functions.
class OperatorBackward final : public ForwardBackward<Activation> {
 public:
  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs& arguments) const override {
    for (const auto* saved : {&input_, &alpha_, &factors_}) arguments.collect(*saved, false);
    arguments.collect(static_cast<std::int64_t>(activation_.kind));
    for (const double parameter : activation_.parameters) arguments.collect(parameter);
  }

  variable_list apply_with_saved(const variable_list& gradients,
                                 torch::dynamo::autograd::SwapSavedVariables& swap) override {
    for (auto* saved : {&input_, &alpha_, &factors_}) swap.before(*saved);
    // A call of apply_functional goes into the graph: the gradients are stand-ins here, without a shape.
    torch::dynamo::autograd::PackedArgs arguments;
    for (const auto* saved : {&input_, &alpha_, &factors_}) arguments.pack(saved->unpack());
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
    for (auto* saved : {&input_, &alpha_, &factors_}) swap.after(*saved);
    return result;
  }

 private:
  static variable_list apply_functional(const variable_list& gradients, const std::vector<c10::IValue>& values) {
    torch::dynamo::autograd::PackedArgs arguments(values);
    const auto input = arguments.unpack<at::Tensor>();
    const auto alpha = arguments.unpack<at::Tensor>();
    const auto factors = arguments.unpack<at::Tensor>();
    Activation activation{.kind = static_cast<ActivationKind>(arguments.unpack<std::int64_t>())};
    const auto parameters = arguments.unpack<std::vector<double>>();
    std::copy(parameters.begin(), parameters.end(), activation.parameters.begin());
    const bool need_input = arguments.unpack<bool>();
    const bool need_alpha = arguments.unpack<bool>();
    return differentiate(gradients, input, alpha, factors, activation, {need_input, need_alpha});
  }
};

// A tangent would be lost without a word.
void refuse_forward_mode(std::initializer_list<const at::Tensor*> tensors) {
  for (const auto* tensor : tensors) {
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::autograd::isFwGradDefined(*tensor),
                                "anact: forward-mode differentiation is not supported");
  }
}

// Whether a gradient is to come; without one, the bookkeeping would cost more than a small tensor's pass. Throws where
// there is no derivative.
bool differentiates(const at::Tensor& input, const at::Tensor& alpha) {
  refuse_forward_mode({&input, &alpha});
  if (!at::GradMode::is_enabled() || !(input.requires_grad() || alpha.requires_grad())) return false;
  // vmap and the like would pass an operator with a derivative in C++ by.
  if (const auto& functorch = at::functorch::functorchTLSAccessor()) functorch->checkSupportsCppAutogradFunction();
  return true;
}

// Makes the first of `result` a differentiable function of input and alpha.
template <class Node, class AnyActivation>
void record(const ForwardResult& result, const at::Tensor& input, const at::Tensor& alpha,
            const AnyActivation& activation) {
  auto node = make_node<Node>();
  node->set_next_edges(torch::autograd::collect_next_edges(input, alpha));
  node->save(input, alpha, std::get<2>(result), activation);
  torch::autograd::set_history(std::get<0>(result), node);
}

ForwardResult forward_autograd(ANACT_FORWARD_PARAMETERS) {
  const bool differentiate = differentiates(input, alpha);
  auto result = forward_below(ANACT_FORWARD_ARGUMENTS);
  if (differentiate) record<OperatorBackward>(result, input, alpha, decode_activation(activation, parameters));
  return result;
}

BackwardResult backward_autograd(ANACT_BACKWARD_PARAMETERS) {
  refuse_forward_mode({&grad, &input, &alpha});
  const bool differentiate =
      at::GradMode::is_enabled() && (grad.requires_grad() || input.requires_grad() || alpha.requires_grad());
  if (differentiate) {
    return fallback::backward_differentiable(grad, input, alpha, factors,
                                             fallback::to_functions(decode_activation(activation, parameters)));
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  static const auto handle = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("anact::backward", "")
                                 .typed<BackwardResult(ANACT_BACKWARD_PARAMETERS)>();
  return handle.call(ANACT_BACKWARD_ARGUMENTS);
}

// Tells autograd that the buffers have changed, so that a graph that saved one of them is not used by mistake.
void update_statistics_in_place(ANACT_UPDATE_PARAMETERS) {
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    ops::update_statistics(ANACT_RUNNING, num_skipped, moments, decode_options(options));
  }
  for (const auto* buffer :
       {&output_mean, &output_square, &input_variance, &backward_gain, &num_batches_tracked, &num_skipped}) {
    if (!buffer->is_inference()) buffer->unsafeGetTensorImpl()->bump_version();
  }
}

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(const at::Tensor& input, const at::Tensor& alpha,
                                                       const RunningStatistics& running,
                                                       const CustomActivation& activation, const Options& options,
                                                       bool training, const std::optional<at::Tensor>& known_factors) {
  const ForwardConfiguration configuration{options, training, known_factors};
  check_forward(input, alpha, running, configuration);
  // For what observes operators (profilers, the variance probe): this is none that the dispatcher would show them.
  const std::vector<c10::IValue> shown{input, alpha, activation.name, training};
  RECORD_FUNCTION("anact::custom_forward", shown);
  const bool differentiate = differentiates(input, alpha);
  ForwardResult result;
  {
    const at::NoGradGuard no_grad;
    result = fallback::forward(input, alpha, running, fallback::to_functions(activation), configuration);
  }
  if (differentiate) record<ForwardBackward<CustomActivation>>(result, input, alpha, activation);
  if (guard.needsOutputs()) {
    const auto& [output, moments, factors] = result;
    guard.setOutputs(std::vector<c10::IValue>{output, moments, factors});
  }
  return result;
}

std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad, const at::Tensor& input, const at::Tensor& alpha,
                                            const at::Tensor& factors, const CustomActivation& activation) {
  const auto functions = fallback::to_functions(activation);
  return at::GradMode::is_enabled() ? fallback::backward_differentiable(grad, input, alpha, factors, functions)
                                    : fallback::backward(grad, input, alpha, factors, functions);
}

TORCH_LIBRARY_IMPL(anact, Autograd, m) {
  m.impl("forward", &forward_autograd);
  m.impl("backward", &backward_autograd);
  // Changes buffers, which take part in no graph.
  m.impl("update_statistics_", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(anact, ADInplaceOrView, m) { m.impl("update_statistics_", &update_statistics_in_place); }

}  // namespace anact::ops
