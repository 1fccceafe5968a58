#include "nn/measuring.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <tuple>

#include "ops/anact.h"
#include "ops/tensors.h"

namespace anact::nn {
namespace {

constexpr double kDeadSlope = 1e-3;

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

void add(std::vector<std::size_t>& indices, std::size_t index) {
  if (std::find(indices.begin(), indices.end(), index) == indices.end()) indices.push_back(index);
}

}  // namespace

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

bool has_values(const at::Tensor& tensor) {
  return tensor.defined() && !tensor.is_meta() && tensor.layout() == at::kStrided &&
         (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble ||
          tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16) &&
         !tensor.key_set().has_any(c10::python_ks) && !tensor.key_set().has(c10::DispatchKey::FuncTorchBatched) &&
         !tensor.key_set().has(c10::DispatchKey::Functionalize);
}

double batch_norm_slope_square(const BatchNormCall& call, const at::Tensor& variance) {
  auto square = (variance.to(at::kDouble) + call.eps).reciprocal();
  if (call.weight.defined()) square = square * call.weight.detach().to(at::kDouble).square();
  return square.mean().item<double>();
}

// The channels' variances one by one, by sums that do not depend on the threads.
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

// Filled in during the backward pass, and shared with the hooks, which can outlive the step.
struct Measurements::Gradients {
  std::mutex mutex;
  std::vector<Moments> slots;
  bool ran = false;     // since it was last asked
  bool closed = false;  // the step has ended
};

Measurements::Measurements() : gradients_(std::make_shared<Gradients>()) {}

std::size_t Measurements::row_of(const std::string& name, LayerKind kind, std::int64_t step) {
  const auto [found, fresh] = row_of_.try_emplace(name, rows_.size());
  if (fresh) {
    LayerRecord& record = rows_.emplace_back().record;
    record.step = step;
    record.layer = static_cast<std::int64_t>(found->second);
    record.name = name;
    record.kind = kind;
  }
  return found->second;
}

const Moments& Measurements::moments(const at::Tensor& tensor) {
  if (const auto* found = moments_.find(tensor)) return *found;
  const Unseen unseen;
  return moments_.set(tensor, ops::moments_of(tensor.detach()));
}

const Moments& Measurements::measure_input(Row& row, const at::Tensor& input) {
  if (const auto index = slot(input)) add(row.input_gradients, *index);
  const Moments& measured = moments(input);
  row.input.merge(measured);
  return measured;
}

void Measurements::measure_output(Row& row, const at::Tensor& output) {
  if (const auto index = slot(output)) add(row.output_gradients, *index);
  row.output.merge(moments(output));
}

void Measurements::measure_weight(Row& row, const at::Tensor& weight, bool parameter) {
  if (std::isfinite(row.record.weight_second_moment) || !has_values(weight)) return;
  const Unseen unseen;
  row.record.weight_second_moment = second_moment_of(weight);
  if (!parameter) return;
  row.weight = weight;
  row.weight_before = weight.detach().clone();
}

void Measurements::measure_dead(Row& row, const at::Tensor& input, const Activation& activation, bool channels_second) {
  const Unseen unseen;
  const auto dead = dead_units(input.detach(), activation, channels_second);
  row.dead = row.dead.defined() && row.dead.sizes() == dead.sizes() ? row.dead.logical_and(dead) : dead;
}

std::optional<std::size_t> Measurements::slot(const at::Tensor& tensor) {
  if (!tensor.requires_grad()) return std::nullopt;
  if (const auto* found = slots_.find(tensor)) return *found;
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
  slots_.set(tensor, index);
  if (tensor.is_leaf()) leaf_hooks_.emplace_back(WeakTensor(tensor.getIntrusivePtr()), hook);
  return index;
}

bool Measurements::take_backward() {
  const std::lock_guard lock(gradients_->mutex);
  return std::exchange(gradients_->ran, false);
}

void Measurements::close() {
  // The graph takes the other tensors' hooks with it; until then they do nothing.
  for (const auto& [weak, hook] : leaf_hooks_) {
    if (auto leaf = weak.lock()) at::Tensor(std::move(leaf)).remove_hook(hook);
  }
  leaf_hooks_.clear();
  const std::lock_guard lock(gradients_->mutex);
  gradients_->closed = true;
}

Moments Measurements::gradient(const std::vector<std::size_t>& slots) const {
  Moments result;
  for (const auto index : slots) result.merge(gradients_->slots[index]);
  return result;
}

void Measurements::complete() {
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
}

}  // namespace anact::nn
