#include "anact/probe.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <unordered_map>

#include "anact/moments.h"
#include "anact/propagation.h"
#include "nn/operators.h"
#include "ops/anact.h"
#include "ops/tensors.h"

namespace anact::nn {
namespace {

constexpr double kDeadSlope = 1e-3;

// What measuring runs is neither recorded nor part of a graph, and has the types of its arguments.
struct Unseen {
  at::DisableRecordFunctionGuard unrecorded;
  at::AutoDispatchBelowAutograd below;
  c10::impl::ExcludeDispatchKeyGuard no_autocast{c10::autocast_dispatch_keyset};
};

Spread spread_of(const Moments& moments) {
  if (moments.count == 0) return {};
  const auto statistics = to_statistics(moments);
  const double mean = moments.input_mean;
  return {
      .mean = mean, .variance = statistics.input_variance, .second_moment = statistics.input_variance + mean * mean};
}

double second_moment_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return 0;
  return spread_of(ops::moments_of(tensor.detach())).second_moment;
}

// Whether a tensor has values that can be read here and now: graphs that are being traced have none.
bool has_values(const at::Tensor& tensor) {
  return tensor.defined() && !tensor.is_meta() && tensor.layout() == at::kStrided &&
         (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble ||
          tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16) &&
         !tensor.key_set().has_any(c10::python_ks) && !tensor.key_set().has(c10::DispatchKey::FuncTorchBatched) &&
         !tensor.key_set().has(c10::DispatchKey::Functionalize);
}

// For each unit whether it is dead: no sample and no place of the batch has a slope.
at::Tensor dead_units(const at::Tensor& x, const Activation& activation, bool channels_second) {
  const auto map = ops::to_tensor(Factors{}).to(x.device());
  const auto slope = [&](const at::Tensor& part) {
    return std::get<0>(ops::apply_backward(at::ones_like(part), part, map, activation)).abs();
  };
  if (x.dim() < 2) return slope(x).flatten() < kDeadSlope;
  const std::int64_t unit = channels_second ? 1 : x.dim() - 1;
  std::vector<std::int64_t> others;
  for (std::int64_t d = 0; d < x.dim(); ++d) {
    if (d != unit) others.push_back(d);
  }
  const auto dead = [&](const at::Tensor& part) { return slope(part).amax(others) < kDeadSlope; };
  // Most units are seen to live by a few samples; only the others are looked at in all.
  constexpr std::int64_t kFew = 8;
  if (x.numel() == 0) return at::zeros({x.size(unit)}, x.options().dtype(at::kBool).memory_format(std::nullopt));
  auto result = dead(x.narrow(0, 0, std::min(kFew, x.size(0))));
  if (x.size(0) <= kFew) return result;
  const auto doubtful = result.nonzero().flatten();
  if (doubtful.numel() > 0) result.index_copy_(0, doubtful, dead(x.index_select(unit, doubtful)));
  return result;
}

// The mean over channels of (weight / deviation)^2, which BatchNorm multiplies the gradient's mean square by.
double batch_norm_slope_square(const BatchNormCall& call, const at::Tensor& variance) {
  auto square = (variance.to(at::kDouble) + call.eps).reciprocal();
  if (call.weight.defined()) square = square * call.weight.detach().to(at::kDouble).square();
  return square.mean().item<double>();
}

// The mean over channels of what BatchNorm with the batch's statistics multiplies the gradient's mean square by, but
// for its projections. The channels' variances one by one, by sums that do not depend on the threads.
double batch_norm_slope_square(const BatchNormCall& call) {
  const auto rows = call.input.detach().transpose(0, 1).flatten(1);
  at::Tensor variance;
  if (rows.is_cpu()) {
    const auto dense = rows.contiguous();
    variance = at::empty({dense.size(0)}, at::kDouble);
    for (std::int64_t c = 0; c < dense.size(0); ++c) {
      variance.mutable_data_ptr<double>()[c] = to_statistics(ops::moments_of(dense.select(0, c))).input_variance;
    }
  } else {
    variance = rows.to(at::kDouble).var(1, /*unbiased=*/false);
  }
  return batch_norm_slope_square(call, variance);
}

double share(const at::Tensor& flags) {
  return flags.numel() == 0
             ? kNotMeasured
             : static_cast<double>(flags.sum().item<std::int64_t>()) / static_cast<double>(flags.numel());
}

// By how much a weight has changed, in the Frobenius norm and relative to what it was. A difference of floats is exact
// but for one rounding.
double relative_change(const at::Tensor& now, const at::Tensor& before, double before_second_moment) {
  const auto type = at::isReducedFloatingType(before.scalar_type()) ? at::kFloat : before.scalar_type();
  const double change = spread_of(ops::moments_of(now.detach().to(type) - before.to(type))).second_moment;
  return before_second_moment > 0 ? std::sqrt(change / before_second_moment) : kNotMeasured;
}

// Filled in during the backward pass, and shared with the hooks, which can outlive the step.
struct Gradients {
  std::mutex mutex;
  std::vector<Moments> slots;
  bool ran = false;     // since the last forward pass
  bool closed = false;  // the step has ended
};

// A tensor in one state of its contents: its address, which stays its own while a weak reference is held, and its
// version, which any change in place raises.
using TensorKey = std::pair<const c10::TensorImpl*, std::uint32_t>;
TensorKey key_of(const at::Tensor& tensor) {
  return {tensor.unsafeGetTensorImpl(), tensor.is_inference() ? 0 : tensor._version()};
}
using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

void add(std::vector<std::size_t>& indices, std::size_t index) {
  if (std::find(indices.begin(), indices.end(), index) == indices.end()) indices.push_back(index);
}

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

// A node of the network as the theory sees it, by measured gains and by the Gaussian assumption.
struct Node {
  std::vector<std::size_t> inputs;
  PropagationNode::Map measured;
  PropagationNode::Map gaussian;
  // For a BatchNorm by measured gains: its backward one. What it emits does not depend on what enters.
  std::optional<MeasuredMap> measured_gradient = std::nullopt;
  // Something else than a known operator took what it made, and passes back a gradient that the theory cannot tell.
  bool leaks = false;
};

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
    gradients_ = std::make_shared<Gradients>();
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
    std::vector<std::size_t> origins;  // nodes that made the inputs
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
    // The graph takes the other tensors' hooks with it; until then they do nothing.
    for (const auto& [weak, hook] : leaf_hooks_) {
      if (auto leaf = weak.lock()) at::Tensor(std::move(leaf)).remove_hook(hook);
    }
    leaf_hooks_.clear();
    const std::lock_guard lock(gradients_->mutex);
    gradients_->closed = true;
  }

  void clear() {
    rows_.clear();
    row_of_.clear();
    seen_.clear();
    nodes_.clear();
    origin_.clear();
    moments_.clear();
    slot_of_.clear();
    alive_.clear();
    input_second_moment_.reset();
    last_layer_.clear();
    channels_second_ = false;
    inside_ = 0;
    pass_ = 0;
    gradients_.reset();
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
    if (!context->closes) {
      const Unseen unseen;
      try {
        context->call = decode_call(name, function.inputs(),
                                    [this](const at::Tensor& tensor) { return owner_of(tensor) != nullptr; });
      } catch (const c10::Error&) {
        // Arguments that are symbols, while a graph is traced.
        return nullptr;
      }
      if (context->call && !std::visit([](const auto& call) { return has_values(input_of(call)); }, *context->call)) {
        context->call.reset();
      }
    }
    if (context->call) {
      new_pass_after_backward();
      std::visit([&](const auto& call) { enter_call(call, *context); }, *context->call);
      context->closes = true;
    } else {
      visit_tensors(function.inputs(), [&](const at::Tensor& tensor) {
        if (!predicts() || !tensor.defined()) return;
        if (const auto found = origin_.find(key_of(tensor)); found != origin_.end())
          add(context->origins, found->second);
      });
      if (!context->closes && context->origins.empty()) return nullptr;
    }
    if (context->closes) ++inside_;
    return context;
  }

  void finish_unknown(const Context& context, const at::RecordFunction& function) {
    bool differentiable = false;
    visit_tensors(function.outputs(), [&](const at::Tensor& tensor) {
      differentiable = differentiable || (tensor.defined() && tensor.requires_grad());
    });
    for (const auto node : context.origins) nodes_[node].leaks = nodes_[node].leaks || differentiable;
  }

  void new_pass_after_backward() {
    const std::lock_guard lock(gradients_->mutex);
    if (!gradients_->ran) return;
    gradients_->ran = false;
    ++pass_;
    seen_.clear();
    origin_.clear();
    last_layer_.clear();
    channels_second_ = false;
  }

  TensorKey known(const at::Tensor& tensor) {
    alive_.emplace_back(tensor.getIntrusivePtr());
    return key_of(tensor);
  }

  // What one layer emits another takes in.
  const Moments& plain_moments(const at::Tensor& tensor) {
    if (const auto found = moments_.find(key_of(tensor)); found != moments_.end()) return found->second;
    const Unseen unseen;
    return moments_[known(tensor)] = ops::moments_of(tensor.detach());
  }

  std::optional<std::size_t> slot(const at::Tensor& tensor) {
    if (!tensor.requires_grad()) return std::nullopt;
    if (const auto found = slot_of_.find(key_of(tensor)); found != slot_of_.end()) return found->second;
    std::size_t index = 0;
    {
      const std::lock_guard lock(gradients_->mutex);
      index = gradients_->slots.size();
      gradients_->slots.emplace_back();
    }
    const auto hook = tensor.register_hook([gradients = gradients_, index](const at::Tensor& gradient) {
      if (!has_values(gradient)) return;
      {
        const std::lock_guard lock(gradients->mutex);
        if (gradients->closed) return;
        gradients->ran = true;
      }
      const Unseen unseen;
      const auto moments = ops::moments_of(gradient.detach());
      const std::lock_guard lock(gradients->mutex);
      gradients->slots[index].merge(moments);
    });
    slot_of_.emplace(known(tensor), index);
    if (tensor.is_leaf()) leaf_hooks_.emplace_back(WeakTensor(tensor.getIntrusivePtr()), hook);
    return index;
  }

  // The node that made a tensor; for what no known operator made, a node that stands for it.
  std::size_t origin(const at::Tensor& tensor) {
    if (const auto found = origin_.find(key_of(tensor)); found != origin_.end()) return found->second;
    const double second_moment = spread_of(plain_moments(tensor)).second_moment;
    if (!input_second_moment_) input_second_moment_ = second_moment;
    // Where no known operator made it, the theory begins anew: from what was measured.
    const MeasuredMap begin{.forward = *input_second_moment_ > 0 ? second_moment / *input_second_moment_ : 1,
                            .backward = 0};
    const std::size_t node = nodes_.size();
    nodes_.push_back({.inputs = {kNetworkInput}, .measured = begin, .gaussian = begin});
    origin_[known(tensor)] = node;
    return node;
  }

  std::size_t made(const at::Tensor& output, Node node) {
    const std::size_t index = nodes_.size();
    nodes_.push_back(std::move(node));
    origin_[known(output)] = index;
    return index;
  }

  [[nodiscard]] bool predicts() const { return options_.predict() && pass_ == 0; }

  // The path of the module whose parameter this is, or of which it is a view, as linear() makes of its weight.
  const std::string* owner_of(const at::Tensor& tensor) const {
    if (!tensor.defined()) return nullptr;
    auto found = owners_.find(tensor.unsafeGetTensorImpl());
    if (found == owners_.end() && tensor.is_view()) found = owners_.find(tensor._base().unsafeGetTensorImpl());
    return found == owners_.end() ? nullptr : &found->second;
  }

  // The name of what runs: the owner of its parameter, else the module that runs, else what came before it.
  std::string name_of(const at::Tensor& parameter, std::string_view what) const {
    if (const auto* owner = owner_of(parameter)) return *owner;
    if (!modules_.empty() && !modules_.back().empty()) return modules_.back();
    return last_layer_.empty() ? std::string(what) : last_layer_ + "/" + std::string(what);
  }

  Row& row(Context& context, const std::string& name, LayerKind kind) {
    const auto occurrence = ++seen_[name];
    const auto key = occurrence == 1 ? name : name + "#" + std::to_string(occurrence);
    const auto [found, fresh] = row_of_.try_emplace(key, rows_.size());
    if (fresh) {
      Row& row = rows_.emplace_back();
      row.record.step = step_;
      row.record.layer = static_cast<std::int64_t>(found->second);
      row.record.name = key;
      row.record.kind = kind;
    }
    context.row = found->second;
    return rows_[found->second];
  }

  template <class AnyCall>
  Row& enter_layer(const AnyCall& call, Context& context, const std::string& name, LayerKind kind) {
    Row& row = this->row(context, name, kind);
    if (const auto index = slot(call.input)) add(row.input_gradients, *index);
    context.input = plain_moments(call.input);
    row.input.merge(context.input);
    if (predicts()) context.origins.push_back(origin(call.input));
    return row;
  }

  template <class Weighted>
  void enter_weighted(const Weighted& call, Context& context, LayerKind kind) {
    const auto name = name_of(call.weight, to_string(kind));
    Row& row = enter_layer(call, context, name, kind);
    const auto fans = weight_fans(call);
    row.record.fan_in = fans.in;
    row.record.fan_out = fans.out;
    if (!row.weight.defined() && has_values(call.weight)) {
      const Unseen unseen;
      row.record.weight_second_moment = second_moment_of(call.weight);
      row.weight = call.weight;
      row.weight_before = call.weight.detach().clone();
    }
    last_layer_ = name;
    channels_second_ = kind == LayerKind::convolution;
  }

  void enter_call(const LinearCall& call, Context& context) { enter_weighted(call, context, LayerKind::linear); }
  void enter_call(const ConvolutionCall& call, Context& context) {
    enter_weighted(call, context, LayerKind::convolution);
  }
  void enter_call(const BatchNormCall& call, Context& context) {
    const auto name = name_of(call.weight, to_string(LayerKind::normalization));
    enter_layer(call, context, name, LayerKind::normalization);
    last_layer_ = name;
  }
  template <class AnyActivation>
  Row& enter_activation(const AnyActivation& call, Context& context, const at::Tensor& alpha,
                        const std::string& custom = "") {
    const auto name = name_of(alpha, custom.empty() ? activation_info(call.activation.kind).name : custom);
    Row& row = enter_layer(call, context, name, LayerKind::activation);
    row.record.activation = custom.empty() ? call.activation.to_string() : custom;
    if (!custom.empty()) return row;
    const Unseen unseen;
    // A convolution in one dimension has the shape of a sequence of features.
    const auto dead = dead_units(call.input.detach(), call.activation, call.input.dim() > 3 || channels_second_);
    row.dead = row.dead.defined() && row.dead.sizes() == dead.sizes() ? row.dead.logical_and(dead) : dead;
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
    measure_activation(call, context, enter_activation(call, context, {}));
  }
  void enter_call(const ANActCall& call, Context& context) {
    Row& row = enter_activation(call, context, call.alpha, call.custom);
    // In training the operator tells them itself.
    if (call.statistics) measure_activation(call, context, row);
  }
  void enter_call(const SumCall& call, Context& context) {
    if (!predicts()) return;
    for (const auto& part : {call.left, call.right}) {
      if (has_values(part)) context.origins.push_back(origin(part));
    }
  }
  void enter_call(const RearrangeCall& call, Context& context) {
    if (!predicts()) return;
    if (call.backward) context.input = plain_moments(call.input);
    context.origins.push_back(origin(call.input));
  }

  void finish(Context& context, const at::RecordFunction& function) {
    if (function.outputs().empty() || !function.outputs()[0].isTensor()) return;
    const at::Tensor output = function.outputs()[0].toTensor();
    if (!has_values(output)) return;
    if (context.row) {
      Row& row = rows_[*context.row];
      if (const auto index = slot(output)) add(row.output_gradients, *index);
      row.output.merge(plain_moments(output));
    }
    const Unseen unseen;
    std::visit([&](const auto& call) { leave_call(call, context, function, output); }, *context.call);
  }

  static double ratio(const Moments& output, const Moments& input) {
    const double below = spread_of(input).second_moment;
    return below > 0 ? spread_of(output).second_moment / below : 1;
  }

  // The node of a layer, by its measured and its Gaussian map.
  void layer_made(const Context& context, const at::Tensor& output, const PropagationNode::Map& measured,
                  const PropagationNode::Map& gaussian) {
    const auto node = made(output, {.inputs = context.origins, .measured = measured, .gaussian = gaussian});
    Row& row = rows_[*context.row];
    if (!row.node) row.node = node;
  }

  void leave_call(const LinearCall& call, const Context& context, const at::RecordFunction&, const at::Tensor& output) {
    if (!predicts()) return;
    const auto map = linear_map(call, rows_[*context.row].record.weight_second_moment, second_moment_of(call.bias));
    layer_made(context, output, map, map);
  }
  void leave_call(const ConvolutionCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    if (!predicts()) return;
    const auto map =
        linear_map(call, output, rows_[*context.row].record.weight_second_moment, second_moment_of(call.bias));
    layer_made(context, output, map, map);
  }
  void leave_call(const BatchNormCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    if (!predicts()) return;
    if (call.batch_statistics) {
      const BatchNormMap map{.scale_second_moment = call.weight.defined() ? second_moment_of(call.weight) : 1,
                             .shift_second_moment = second_moment_of(call.bias),
                             .eps = call.eps};
      layer_made(context, output, map, map);
      nodes_.back().measured_gradient = MeasuredMap{.forward = 1, .backward = batch_norm_slope_square(call)};
      return;
    }
    const MeasuredMap map{.forward = ratio(plain_moments(output), context.input),
                          .backward = batch_norm_slope_square(call, call.running_variance)};
    layer_made(context, output, map, map);
  }
  void leave_call(const ActivationCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    rows_[*context.row].record.lambda = 1;
    const GaussianActivation gaussian{.activation = call.activation, .normalization = {}};
    leave_activation(context, output, 1, &gaussian);
  }
  void leave_call(const ANActCall& call, Context& context, const at::RecordFunction& function,
                  const at::Tensor& output) {
    Row& row = rows_[*context.row];
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
    const MeasuredMap measured{.forward = ratio(plain_moments(output), context.input),
                               .backward = scale * scale * to_statistics(context.activation).backward_gain};
    layer_made(context, output, measured, gaussian == nullptr ? PropagationNode::Map(measured) : *gaussian);
  }
  void leave_call(const SumCall&, const Context& context, const at::RecordFunction&, const at::Tensor& output) {
    if (context.origins.empty()) return;
    made(output, {.inputs = context.origins, .measured = Sum{}, .gaussian = Sum{}});
  }
  void leave_call(const RearrangeCall& call, const Context& context, const at::RecordFunction&,
                  const at::Tensor& output) {
    if (context.origins.empty()) return;
    if (!call.backward) {
      origin_[known(output)] = context.origins.front();
      return;
    }
    const MeasuredMap map{.forward = ratio(plain_moments(output), context.input),
                          .backward = call.backward(call.input, output)};
    made(output, {.inputs = context.origins, .measured = map, .gaussian = map});
  }

  // The gradient of all the slots together.
  [[nodiscard]] Moments gradient(const std::vector<std::size_t>& slots) const {
    Moments result;
    for (const auto index : slots) result.merge(gradients_->slots[index]);
    return result;
  }

  void record() {
    const Unseen unseen;
    const std::lock_guard lock(gradients_->mutex);
    for (Row& row : rows_) {
      LayerRecord& record = row.record;
      record.input = spread_of(row.input);
      record.output = spread_of(row.output);
      record.input_gradient = spread_of(gradient(row.input_gradients));
      record.output_gradient = spread_of(gradient(row.output_gradients));
      if (record.kind == LayerKind::activation && row.activation.count > 0) {
        const auto statistics = to_statistics(row.activation);
        record.forward_gain = statistics.output_square / statistics.input_variance;
        record.backward_gain = statistics.backward_gain;
        record.output_mean = statistics.output_mean;
        record.forward_property = record.lambda * record.lambda * record.forward_gain;
        record.backward_property = record.lambda * record.lambda * record.backward_gain;
        if (row.dead.defined()) record.dead_share = share(row.dead);
      }
      if (row.weight.defined()) {
        record.update_ratio = relative_change(row.weight, row.weight_before, record.weight_second_moment);
      }
    }
    if (options_.predict()) predict();
    for (Row& row : rows_) records_.push_back(std::move(row.record));
  }

  // For each node up to `last`, whether the theory tells its gradient: all that takes what it makes leads to `last` by
  // known operators.
  [[nodiscard]] std::vector<bool> told_gradients(std::size_t last) const {
    std::vector<bool> reaches(nodes_.size(), false);
    std::vector<bool> incomplete(nodes_.size(), false);
    std::vector<bool> used(nodes_.size(), false);
    for (const Node& node : nodes_) {
      for (const auto input : node.inputs) {
        if (input != kNetworkInput) used[input] = true;
      }
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) incomplete[i] = nodes_[i].leaks || i > last;
    for (const Row& row : rows_) {
      // A gradient came from where no operator was seen.
      if (row.node && !used[*row.node] && row.record.output_gradient.second_moment > 0) incomplete[*row.node] = true;
    }
    incomplete[last] = false;
    reaches[last] = true;
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      for (const auto input : nodes_[i].inputs) {
        if (input == kNetworkInput || input == last) continue;
        if (reaches[i]) reaches[input] = true;
        if (incomplete[i]) incomplete[input] = true;
      }
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) reaches[i] = reaches[i] && !incomplete[i];
    return reaches;
  }

  void predict() {
    if (!input_second_moment_) return;
    // The gradient is followed back from the last layer that has one: from what was measured at its output.
    const Row* last = nullptr;
    for (const Row& row : rows_) {
      if (row.node && std::isfinite(row.record.output_gradient.second_moment) &&
          (last == nullptr || *row.node > *last->node)) {
        last = &row;
      }
    }
    const std::size_t end = last == nullptr ? 0 : *last->node + 1;
    const auto told = last == nullptr ? std::vector<bool>() : told_gradients(*last->node);
    // Of the first `count` nodes. None for second moments that are not finite: there is nothing to predict.
    const auto walk = [&](const auto& map, std::size_t count, double seed) -> std::vector<Propagation> {
      std::vector<PropagationNode> network;
      for (std::size_t i = 0; i < count; ++i) network.push_back({nodes_[i].inputs, map(nodes_[i])});
      try {
        return propagate(network, *input_second_moment_, seed);
      } catch (const std::invalid_argument&) {
        return {};
      }
    };
    const auto fill_gradients = [&](const std::vector<Propagation>& result, double LayerRecord::*column) {
      for (Row& row : rows_) {
        if (!row.node || *row.node >= result.size()) continue;
        const auto input = nodes_[*row.node].inputs.front();
        if (told[input] && row.record.input_gradient.second_moment >= 0) row.record.*column = result[input].gradient;
      }
    };
    const auto fill_second_moments = [&](const std::vector<Propagation>& result, double LayerRecord::*column) {
      for (Row& row : rows_) {
        if (row.node && *row.node < result.size()) row.record.*column = result[*row.node].second_moment;
      }
    };
    const double seed = last == nullptr ? 0 : last->record.output_gradient.second_moment;
    const auto measured = [](const Node& node) { return node.measured; };
    const auto measured_gradient = [](const Node& node) {
      return node.measured_gradient ? PropagationNode::Map(*node.measured_gradient) : node.measured;
    };
    const auto gaussian = [](const Node& node) { return node.gaussian; };
    fill_second_moments(walk(measured, nodes_.size(), 0), &LayerRecord::predicted_second_moment);
    if (last != nullptr) fill_gradients(walk(measured_gradient, end, seed), &LayerRecord::predicted_gradient);
    // Most often the last node is that of the last layer: one walk does for both.
    auto normal = walk(gaussian, nodes_.size(), end == nodes_.size() ? seed : 0);
    fill_second_moments(normal, &LayerRecord::gaussian_second_moment);
    if (last != nullptr && end != nodes_.size()) normal = walk(gaussian, end, seed);
    if (last != nullptr) fill_gradients(normal, &LayerRecord::gaussian_gradient);
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
  std::vector<Row> rows_;
  std::unordered_map<std::string, std::size_t> row_of_;
  std::unordered_map<std::string, std::int64_t> seen_;  // in this forward pass
  std::vector<Node> nodes_;
  std::map<TensorKey, std::size_t> origin_;
  std::map<TensorKey, Moments> moments_;
  std::map<TensorKey, std::size_t> slot_of_;
  std::vector<WeakTensor> alive_;
  std::vector<std::pair<WeakTensor, unsigned>> leaf_hooks_;
  std::shared_ptr<Gradients> gradients_;
  std::optional<double> input_second_moment_;
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
