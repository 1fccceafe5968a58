#include "anact/probe.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "anact/moments.h"
#include "anact/propagation.h"
#include "nn/measuring.h"
#include "nn/operators.h"
#include "nn/prediction.h"
#include "ops/anact.h"
#include "ops/tensors.h"

namespace anact::nn {
namespace {

template <class Visit>
void visit_tensors(c10::ArrayRef<c10::IValue> values, Visit visit) {
  for (const auto& value : values) {
    if (value.isTensor()) {
      visit(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorList()) visit(tensor);
    }
  }
}

// Whether an operator is written in terms of others that the dispatcher, and with it autograd, sees. What a kernel
// calls is its own business: it fills its buffers behind the dispatcher's back.
bool is_composite(const at::RecordFunction& function) {
  const auto name = function.operator_name();
  if (!name) return true;  // a function of Python, no operator
  const auto handle = c10::Dispatcher::singleton().findOp(*name);
  return handle && handle->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd);
}

}  // namespace

class VarianceProbe::State {
 public:
  State(std::vector<std::pair<std::string, torch::Tensor>> named, const VarianceProbeOptions& options)
      : options_(options) {
    if (options.every() < 1) {
      throw std::invalid_argument("VarianceProbe: every is " + std::to_string(options.every()) +
                                  "; it must be at least 1");
    }
    for (auto& [name, tensor] : named) {
      const auto dot = name.rfind('.');
      owners_.emplace(tensor.unsafeGetTensorImpl(), dot == std::string::npos ? name : name.substr(0, dot));
      parameters_.push_back(std::move(tensor));
    }
    begin();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { uninstall(); }

  void end() {
    if (!running_) return;
    running_ = false;
    if (measures()) {
      uninstall();
      record();
      clear();
    }
    ++step_;
  }

  void begin() {
    running_ = true;
    if (step_ % options_.every() != 0) return;
    if (current() != nullptr) throw std::logic_error("VarianceProbe: another probe is measuring on this thread");
    callback_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&State::on_start, &State::on_end)
                                               .needsInputs(true)
                                               .needsOutputs(true)
                                               .scopes({at::RecordScope::FUNCTION}));
    current() = this;
  }

  [[nodiscard]] bool measures() const { return callback_.has_value(); }
  [[nodiscard]] std::vector<LayerRecord>& records() { return records_; }

  void enter(const std::string& name) { modules_.push_back(name); }
  void leave() {
    if (!modules_.empty()) modules_.pop_back();
  }

 private:
  struct Context : at::ObserverContext {
    State* state = nullptr;
    std::optional<Call> call;  // none for what is not known
    bool closes = false;       // what the operator calls is not looked at
    std::optional<std::size_t> row;
    std::string name;                  // of a layer
    std::vector<std::size_t> origins;  // nodes that made the inputs
    std::vector<std::size_t> uses;     // of inputs that no node made
    Moments input;
    Moments activation;
  };

  // The probe that is measuring on this thread.
  static State*& current() {
    thread_local State* state = nullptr;
    return state;
  }

  void uninstall() {
    if (!callback_) return;
    at::removeCallback(*callback_);
    callback_.reset();
    current() = nullptr;
    measurements_.close();
  }

  void clear() {
    measurements_ = {};
    prediction_ = {};
    forget_pass();
    inside_ = 0;
    pass_ = 0;
  }

  // What holds within one forward pass.
  void forget_pass() {
    seen_.clear();
    last_layer_.clear();
    channels_second_ = false;
  }

  static std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& function) {
    State* state = current();
    if (state == nullptr) return nullptr;
    return state->start(function);
  }

  static void on_end(const at::RecordFunction& function, at::ObserverContext* context) {
    auto* of = static_cast<Context*>(context);
    if (of == nullptr || current() != of->state) return;
    if (of->closes) --of->state->inside_;
    if (of->call) {
      of->state->finish(*of, function);
    } else {
      of->state->finish_unknown(*of, function);
    }
  }

  std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
    if (inside_ > 0 || !at::GradMode::is_enabled() || torch::autograd::get_current_graph_task_id() != -1) {
      return nullptr;
    }
    const std::string_view name = function.name();
    auto context = std::make_unique<Context>();
    context->state = this;
    context->closes = is_closed(name);
    bool known = false;
    if (!context->closes) {
      const Unseen unseen;
      try {
        context->call = decode_call(name, function.inputs(),
                                    [this](const at::Tensor& tensor) { return owner_of(tensor) != nullptr; });
      } catch (const c10::Error&) {
        // Arguments that are symbols, while a graph is traced.
        return nullptr;
      }
      known = context->call.has_value();
      if (known && !std::visit([](const auto& call) { return have_values(call); }, *context->call)) {
        // What it calls may have them.
        context->call.reset();
      } else if (!known) {
        context->closes = !is_composite(function);
      }
    }
    if (context->call) {
      new_pass_after_backward();
      context->closes = true;
      if (std::visit([&](const auto& call) { return is_chosen(call, *context); }, *context->call)) {
        std::visit([&](const auto& call) { enter_call(call, *context); }, *context->call);
      } else {
        context->call.reset();
      }
    }
    if (!context->call) {
      visit_tensors(function.inputs(), [&](const at::Tensor& tensor) { take(tensor, *context); });
      if (!context->closes && context->origins.empty() && context->uses.empty()) return nullptr;
    }
    if (context->closes) ++inside_;
    return context;
  }

  void finish_unknown(const Context& context, const at::RecordFunction& function) {
    bool differentiable = false;
    visit_tensors(function.outputs(), [&](const at::Tensor& tensor) {
      differentiable = differentiable || (tensor.defined() && tensor.requires_grad());
    });
    if (differentiable) lose(context);
  }

  // What an operator takes that the theory does not follow.
  void take(const at::Tensor& tensor, Context& context) {
    if (!predicts() || !tensor.defined()) return;
    if (const auto origin = prediction_.origin(tensor)) {
      auto& origins = context.origins;
      if (std::ranges::find(origins, *origin) == origins.end()) origins.push_back(*origin);
    } else if (tensor.requires_grad()) {
      context.uses.push_back(prediction_.note_use(tensor));
    }
  }

  // The theory does not follow the operator, whose output has a gradient.
  void lose(const Context& context) {
    for (const auto node : context.origins) prediction_.node(node).leaks = true;
    for (const auto use : context.uses) prediction_.tell_use(use);
  }

  void new_pass_after_backward() {
    if (!measurements_.take_backward()) return;
    ++pass_;
    forget_pass();
    prediction_.forget_origins();
  }

  // Where no known operator made it, the theory begins anew: from what was measured.
  std::size_t origin(const at::Tensor& tensor) {
    if (const auto found = prediction_.origin(tensor)) return *found;
    return prediction_.begin(tensor, spread_of(measurements_.moments(tensor)).second_moment);
  }

  [[nodiscard]] bool predicts() const { return options_.predict() && pass_ == 0; }

  // The path of the module whose parameter this is, or of which it is a view, as linear() makes of its weight.
  const std::string* owner_of(const at::Tensor& tensor) const {
    if (!tensor.defined()) return nullptr;
    auto found = owners_.find(tensor.unsafeGetTensorImpl());
    if (found == owners_.end() && tensor.is_view()) found = owners_.find(tensor._base().unsafeGetTensorImpl());
    return found == owners_.end() ? nullptr : &found->second;
  }

  // The path of the module whose parameters alone the tensor was computed from, as a standardized weight is.
  const std::string* source_of(const at::Tensor& tensor) const {
    static constexpr std::size_t kMostNodes = 64;
    if (!tensor.defined() || !tensor.grad_fn()) return nullptr;
    const std::string* found = nullptr;
    std::vector<torch::autograd::Node*> nodes{tensor.grad_fn().get()};
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (const auto* leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(nodes[i])) {
        const auto* owner = owner_of(leaf->variable);
        if (owner == nullptr || (found != nullptr && found != owner && *found != *owner)) return nullptr;
        found = owner;
      }
      for (const auto& edge : nodes[i]->next_edges()) {
        auto* next = edge.function.get();
        if (next != nullptr && std::ranges::find(nodes, next) == nodes.end()) nodes.push_back(next);
      }
      if (nodes.size() > kMostNodes) return nullptr;
    }
    return found;
  }

  // The name of what runs: the owner of its parameter, else the module that runs, else what came before it.
  std::string name_of(const at::Tensor& parameter, std::string_view what) const {
    if (const auto* owner = owner_of(parameter)) return *owner;
    if (const auto* owner = source_of(parameter)) return *owner;
    if (!modules_.empty() && !modules_.back().empty()) return modules_.back();
    return last_layer_.empty() ? std::string(what) : last_layer_ + "/" + std::string(what);
  }

  [[nodiscard]] Row& row(const Context& context) { return measurements_.rows()[*context.row]; }

  [[nodiscard]] static bool have_values(const SumCall& call) { return has_values(call.left) && has_values(call.right); }
  template <class AnyCall>
  [[nodiscard]] static bool have_values(const AnyCall& call) {
    return has_values(call.input);
  }

  // Whether a call is to be looked at. A layer is named here.
  [[nodiscard]] static bool is_chosen(const SumCall&, Context&) { return true; }
  [[nodiscard]] static bool is_chosen(const RearrangeCall&, Context&) { return true; }
  bool is_chosen(const LinearCall& call, Context& context) {
    channels_second_ = false;
    return is_chosen(call.weight, LayerKind::linear, context);
  }
  bool is_chosen(const ConvolutionCall& call, Context& context) {
    channels_second_ = true;
    return is_chosen(call.weight, LayerKind::convolution, context);
  }
  bool is_chosen(const BatchNormCall& call, Context& context) {
    return is_chosen(call.weight, LayerKind::normalization, context);
  }
  bool is_chosen(const at::Tensor& weight, LayerKind kind, Context& context) {
    context.name = name_of(weight, to_string(kind));
    last_layer_ = context.name;
    return is_chosen(context.name, "");
  }
  bool is_chosen(const ActivationCall& call, Context& context) {
    context.name = name_of({}, activation_info(call.activation.kind).name);
    return is_chosen(context.name, call.activation.to_string());
  }
  bool is_chosen(const LearntCall& call, Context& context) {
    context.name = name_of(call.parameter, call.name);
    return is_chosen(context.name, call.name);
  }
  bool is_chosen(const ANActCall& call, Context& context) {
    context.name = name_of(call.alpha, call.custom.empty() ? activation_info(call.activation.kind).name : call.custom);
    return is_chosen(context.name, call.custom.empty() ? call.activation.to_string() : call.custom);
  }
  [[nodiscard]] bool is_chosen(const std::string& name, const std::string& activation) const {
    return !options_.choose() || options_.choose()(name, activation);
  }

  template <class AnyCall>
  Row& enter_layer(const AnyCall& call, Context& context, LayerKind kind) {
    const auto occurrence = ++seen_[context.name];
    const auto key = occurrence == 1 ? context.name : context.name + "#" + std::to_string(occurrence);
    context.row = measurements_.row_of(key, kind, step_);
    Row& row = this->row(context);
    context.input = measurements_.measure_input(row, call.input);
    if (predicts()) context.origins.push_back(origin(call.input));
    return row;
  }

  template <class Weighted>
  void enter_weighted(const Weighted& call, Context& context, LayerKind kind) {
    Row& row = enter_layer(call, context, kind);
    const auto fans = weight_fans(call);
    row.record.fan_in = static_cast<double>(fans.inputs);
    row.record.fan_out = static_cast<double>(fans.outputs);
    measurements_.measure_weight(row, call.weight, owner_of(call.weight) != nullptr);
  }

  void enter_call(const LinearCall& call, Context& context) { enter_weighted(call, context, LayerKind::linear); }
  void enter_call(const ConvolutionCall& call, Context& context) {
    enter_weighted(call, context, LayerKind::convolution);
  }
  void enter_call(const BatchNormCall& call, Context& context) { enter_layer(call, context, LayerKind::normalization); }
  template <class AnyActivation>
  Row& enter_activation(const AnyActivation& call, Context& context, const std::string& custom = "") {
    Row& row = enter_layer(call, context, LayerKind::activation);
    row.record.activation = custom.empty() ? call.activation.to_string() : custom;
    if (!custom.empty()) return row;
    // A convolution in one dimension has the shape of a sequence of features.
    measurements_.measure_dead(row, call.input, call.activation, call.input.dim() > 3 || channels_second_);
    return row;
  }
  // Before the operator runs, which may change its input.
  template <class AnyActivation>
  void measure_activation(const AnyActivation& call, Context& context, Row& row) {
    const Unseen unseen;
    context.activation = ops::moments_of(call.input.detach(), call.activation);
    row.activation.merge(context.activation);
  }
  void enter_call(const ActivationCall& call, Context& context) {
    measure_activation(call, context, enter_activation(call, context));
  }
  void enter_call(const LearntCall& call, Context& context) {
    Row& row = enter_layer(call, context, LayerKind::activation);
    row.record.activation = call.name;
    if (options_.predict()) row.record.unpredicted = "the activation has a learnt parameter";
  }
  void enter_call(const ANActCall& call, Context& context) {
    Row& row = enter_activation(call, context, call.custom);
    // In training the operator tells them itself.
    if (call.statistics) measure_activation(call, context, row);
  }
  // A part that is not known may be made of the other one.
  void enter_call(const SumCall& call, Context& context) {
    if (!predicts()) return;
    const auto left = prediction_.origin(call.left), right = prediction_.origin(call.right);
    if (left && right) {
      context.origins = {*left, *right};
    } else {
      take(call.left, context);
      take(call.right, context);
    }
  }
  // Nothing is read of a tensor that is not known: it may be memory that is yet to be filled.
  void enter_call(const RearrangeCall& call, Context& context) {
    take(call.input, context);
    if (call.backward && !context.origins.empty()) context.input = measurements_.moments(call.input);
  }

  void finish(Context& context, const at::RecordFunction& function) {
    if (function.outputs().empty() || !function.outputs()[0].isTensor()) return;
    const at::Tensor output = function.outputs()[0].toTensor();
    if (!has_values(output)) {
      if (output.defined() && output.requires_grad()) lose(context);
      return;
    }
    if (context.row) measurements_.measure_output(row(context), output);
    const Unseen unseen;
    std::visit([&](const auto& call) { leave_call(call, context, function, output); }, *context.call);
  }

  // Not measured for an input of zeros, which tells nothing.
  static double ratio(const Moments& output, const Moments& input) {
    const double below = spread_of(input).second_moment;
    return below > 0 ? spread_of(output).second_moment / below : kNotMeasured;
  }

  // The node of a layer, by its measured and its Gaussian map.
  void layer_made(const Context& context, const at::Tensor& output, const PropagationNode::Map& measured,
                  const PropagationNode::Map& gaussian, std::optional<MeasuredMap> measured_gradient = std::nullopt) {
    const auto node = prediction_.add(output, {.inputs = context.origins,
                                               .measured = measured,
                                               .gaussian = gaussian,
                                               .measured_input = spread_of(context.input).second_moment,
                                               .measured_gradient = measured_gradient});
    if (!row(context).node) row(context).node = node;
  }

  void leave_call(const LinearCall& call, const Context& context, const at::RecordFunction&, const at::Tensor& output) {
    if (!predicts()) return;
    const auto map = linear_map(call, row(context).record.weight_second_moment, second_moment_of(call.bias));
    layer_made(context, output, map, map);
  }
  void leave_call(const ConvolutionCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    if (!predicts()) return;
    const auto map = linear_map(call, output, row(context).record.weight_second_moment, second_moment_of(call.bias));
    layer_made(context, output, map, map);
  }
  void leave_call(const BatchNormCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    if (!predicts()) return;
    if (call.batch_statistics) {
      const BatchNormMap map{.scale_second_moment = call.weight.defined() ? second_moment_of(call.weight) : 1,
                             .shift_second_moment = second_moment_of(call.bias),
                             .eps = call.eps};
      layer_made(context, output, map, map, MeasuredMap{.forward = 1, .backward = batch_norm_slope_square(call)});
      return;
    }
    const MeasuredMap map{.forward = ratio(measurements_.moments(output), context.input),
                          .backward = batch_norm_slope_square(call, call.running_variance)};
    layer_made(context, output, map, map);
  }
  void leave_call(const ActivationCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    row(context).record.lambda = call.scale;
    const GaussianActivation gaussian{.activation = call.activation, .normalization = {}};
    // Of a scaled one the measured gains must do for both.
    leave_activation(context, output, call.scale, call.scale == 1 ? &gaussian : nullptr);
  }
  void leave_call(const LearntCall& call, const Context& context, const at::RecordFunction&, const at::Tensor& output) {
    row(context).record.lambda = call.scale;
    // The theory begins anew behind it, as behind what is not known.
    if (output.requires_grad()) lose(context);
  }
  void leave_call(const ANActCall& call, Context& context, const at::RecordFunction& function,
                  const at::Tensor& output) {
    Row& row = this->row(context);
    const double alpha = call.alpha.detach().to(at::kDouble).item<double>();
    Factors used;
    if (call.statistics) {
      used = factors(*call.statistics, alpha, call.normalization);
    } else {
      used = ops::to_factors(function.outputs()[1].toTensor().cpu());
      if (const auto moments = function.outputs()[2].toTensor(); moments.defined()) {
        context.activation = ops::to_moments(moments.cpu());
        row.activation.merge(context.activation);
      } else {
        measure_activation(call, context, row);
      }
    }
    row.record.normalized = true;
    row.record.alpha = alpha;
    row.record.lambda = used.scale - kAlphaRange * std::tanh(alpha);
    const GaussianActivation gaussian{
        .activation = call.activation, .normalization = call.normalization, .alpha = alpha};
    // Of a user's own activation the measured gains must do for both.
    leave_activation(context, output, used.scale, call.custom.empty() ? &gaussian : nullptr);
  }
  void leave_activation(const Context& context, const at::Tensor& output, double scale,
                        const GaussianActivation* gaussian) {
    if (!predicts()) return;
    const MeasuredMap measured{.forward = ratio(measurements_.moments(output), context.input),
                               .backward = scale * scale * to_statistics(context.activation).backward_gain};
    layer_made(context, output, measured, gaussian == nullptr ? PropagationNode::Map(measured) : *gaussian);
  }
  void leave_call(const SumCall&, const Context& context, const at::RecordFunction&, const at::Tensor& output) {
    if (context.origins.size() < 2 || prediction_.correlated(context.origins[0], context.origins[1])) {
      if (output.requires_grad()) lose(context);
      return;
    }
    prediction_.add(output, {.inputs = context.origins, .measured = Sum{}, .gaussian = Sum{}});
  }
  void leave_call(const RearrangeCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    if (context.origins.empty()) {
      // Of nothing to do, as in to() of the same type, the tensor itself comes back.
      if (output.requires_grad() && !output.is_same(call.input)) lose(context);
      return;
    }
    if (!call.backward) {
      prediction_.pass_on(output, context.origins.front());
      return;
    }
    const MeasuredMap map{.forward = ratio(measurements_.moments(output), context.input),
                          .backward = call.backward(call.input, output)};
    prediction_.add(output, {.inputs = context.origins, .measured = map, .gaussian = map});
  }

  void record() {
    measurements_.complete();
    std::vector<Prediction::Layer> layers;
    for (Row& row : measurements_.rows()) {
      if (row.node) {
        layers.push_back({.node = *row.node, .record = &row.record, .empty = row.input.count == 0});
      } else if (options_.predict() && row.record.unpredicted.empty()) {
        row.record.unpredicted = "it did not run to its end before the step's first backward pass";
      }
    }
    if (options_.predict()) {
      const Unseen unseen;
      prediction_.predict(layers);
    }
    for (Row& row : measurements_.rows()) records_.push_back(std::move(row.record));
  }

  VarianceProbeOptions options_;
  std::vector<torch::Tensor> parameters_;  // alive, so that their addresses are theirs
  std::unordered_map<const c10::TensorImpl*, std::string> owners_;
  std::vector<LayerRecord> records_;
  std::int64_t step_ = 0;
  bool running_ = false;  // a step is going on
  std::optional<at::CallbackHandle> callback_;
  std::vector<std::string> modules_;

  // Of the step that is measured.
  Measurements measurements_;
  Prediction prediction_;
  std::unordered_map<std::string, std::int64_t> seen_;  // in this forward pass
  std::string last_layer_;
  bool channels_second_ = false;
  int inside_ = 0;
  std::int64_t pass_ = 0;
};

namespace {

std::vector<std::pair<std::string, torch::Tensor>> named_parameters(const torch::nn::Module& model) {
  std::vector<std::pair<std::string, torch::Tensor>> result;
  for (const auto& item : model.named_parameters()) result.emplace_back(item.key(), item.value());
  return result;
}

}  // namespace

VarianceProbe::VarianceProbe(const torch::nn::Module& model, const VarianceProbeOptions& options)
    : VarianceProbe(nn::named_parameters(model), options) {}

VarianceProbe::VarianceProbe(std::vector<std::pair<std::string, torch::Tensor>> named_parameters,
                             const VarianceProbeOptions& options)
    : state_(std::make_unique<State>(std::move(named_parameters), options)) {}

VarianceProbe::~VarianceProbe() = default;

void VarianceProbe::step() {
  state_->end();
  state_->begin();
}

void VarianceProbe::finish() { state_->end(); }
bool VarianceProbe::measures() const { return state_->measures(); }
const std::vector<LayerRecord>& VarianceProbe::records() const { return state_->records(); }
std::vector<LayerRecord> VarianceProbe::take_records() { return std::exchange(state_->records(), {}); }
void VarianceProbe::enter(const std::string& name) { state_->enter(name); }
void VarianceProbe::leave() { state_->leave(); }

}  // namespace anact::nn
