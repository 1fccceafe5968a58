#include "ops/anact.h"

#include <ATen/SavedTensorHooks.h>
#include <torch/csrc/autograd/graph_task.h>

#include <numbers>
#include <ostream>
#include <stdexcept>
#include <utility>

#include "anact/gaussian.h"
#include "anact/nn.h"
#include "ops/fallback/anact.h"

namespace anact::nn {
namespace {

NormalizationOptions to_normalization(const ANActOptions& options) {
  return {.solution = options.solution(),
          .target = options.target(),
          .gain = options.gain(),
          .centre = options.centre(),
          .lambda_min = options.bounds().first,
          .lambda_max = options.bounds().second};
}

ops::UpdateOptions to_update(const ANActOptions& options) {
  const auto gate = options.gate().value_or(ANActOptions::Interval(0, 0));
  return {.momentum = options.momentum(), .gate_low = gate.first, .gate_high = gate.second};
}

// The statistics under N(0, 1), by the midpoint rule, which converges exponentially for a smooth f. An f with kinks has
// most often one at 0, which lies between two nodes.
Statistics gaussian_statistics(const CustomActivation& activation) {
  constexpr std::int64_t kNodes = 1 << 15;
  constexpr double kReach = 12;
  constexpr double kStep = 2 * kReach / kNodes;
  const torch::NoGradGuard no_grad;
  const auto [value, derivative] = ops::fallback::to_functions(activation);
  const auto x = (torch::arange(kNodes, torch::kDouble) + 0.5) * kStep - kReach;
  const auto weight = torch::exp(x.square() * -0.5) * (kStep * std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  const auto f = value(x);
  const Statistics result{.output_mean = (weight * f).sum().item<double>(),
                          .output_square = (weight * f.square()).sum().item<double>(),
                          .input_variance = 1,
                          .backward_gain = (weight * derivative(x).square()).sum().item<double>()};
  if (!result.is_finite()) {
    throw std::invalid_argument("ANAct: the custom activation \"" + activation.name +
                                "\" is not finite under N(0, 1); f and f' must be on [-12, 12]");
  }
  return result;
}

Statistics gaussian_statistics(const ANActOptions& options) {
  return options.custom() ? gaussian_statistics(*options.custom()) : anact::gaussian_statistics(options.activation());
}

// ops::forward with what the options say.
auto run(const torch::Tensor& input, const torch::Tensor& alpha, const ops::RunningStatistics& running,
         const ANActOptions& options, bool training, const std::optional<torch::Tensor>& known_factors) {
  const auto of = [&](const auto& activation) {
    return ops::forward(input, alpha, running, activation, options.statistics(), to_normalization(options),
                        to_update(options), training, known_factors);
  };
  return options.custom() ? of(*options.custom()) : of(options.activation());
}

// Checkpointing keeps no graph of the first pass, or puts hooks on the tensors that it saves. In any other pass nothing
// is kept, since small tensors that outlive a step break up the memory that the big ones use again.
bool may_run_again() { return !torch::GradMode::is_enabled() || at::SavedTensorDefaultHooks::get_hooks().has_value(); }

}  // namespace

ANActImpl::ANActImpl(ANActOptions options) : options(std::move(options)) { reset(); }

void ANActImpl::reset() {
  validate(normalization());
  if (!(options.momentum() > 0 && options.momentum() <= 1)) {
    throw std::invalid_argument("ANAct: momentum is " + std::to_string(options.momentum()) + "; it must be in (0, 1]");
  }
  if (const auto gate = options.gate(); gate && !(gate->first >= 0 && gate->first < gate->second)) {
    throw std::invalid_argument("ANAct: the gate is [" + std::to_string(gate->first) + ", " +
                                std::to_string(gate->second) + "]; it must be 0 <= low < high");
  }
  alpha = register_parameter("alpha", torch::zeros({}), options.learnable());
  output_mean = register_buffer("output_mean", torch::zeros({}));
  output_square = register_buffer("output_square", torch::zeros({}));
  input_variance = register_buffer("input_variance", torch::zeros({}));
  backward_gain = register_buffer("backward_gain", torch::zeros({}));
  num_batches_tracked = register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
  num_batches_skipped = torch::zeros({}, torch::kLong);
  reset_running_stats();
}

void ANActImpl::reset_parameters() {
  const torch::NoGradGuard no_grad;
  alpha.zero_();
}

void ANActImpl::reset_running_stats() {
  const auto normal = gaussian_statistics(options);
  output_mean.fill_(normal.output_mean);
  output_square.fill_(normal.output_square);
  input_variance.fill_(normal.input_variance);
  backward_gain.fill_(normal.backward_gain);
  num_batches_tracked.zero_();
  num_batches_skipped.zero_();
}

torch::Tensor ANActImpl::forward(const torch::Tensor& input) {
  const ops::RunningStatistics running{output_mean, output_square, input_variance, backward_gain, num_batches_tracked};
  auto [output, moments, factors] = run(input, alpha, running, options, is_training(), std::nullopt);
  if (!is_training()) return output;
  // A forward pass within a backward pass is one that runs again.
  if (torch::autograd::get_current_graph_task_id() != -1) {
    const auto known_factors = find_factors(moments);
    return known_factors ? std::get<0>(run(input, alpha, running, options, true, known_factors)) : output;
  }
  if (may_run_again()) remember({moments, factors});
  ops::update_statistics(running, num_batches_skipped, moments, to_update(options));
  return output;
}

void ANActImpl::remember(Pass pass) {
  if (passes_.size() < kPasses) {
    passes_.push_back(std::move(pass));
  } else {
    passes_[next_pass_] = std::move(pass);
    next_pass_ = (next_pass_ + 1) % kPasses;
  }
}

std::optional<torch::Tensor> ANActImpl::find_factors(const torch::Tensor& moments) const {
  // The latest first: a batch that comes again in a later step has the same moments, but not the same factors.
  for (std::size_t age = 1; age <= passes_.size(); ++age) {
    const auto& pass = passes_[(next_pass_ + passes_.size() - age) % passes_.size()];
    if (pass.moments.device() == moments.device() && torch::equal(pass.moments, moments)) return pass.factors;
  }
  return std::nullopt;
}

Statistics ANActImpl::statistics() const {
  return {.output_mean = output_mean.item<double>(),
          .output_square = output_square.item<double>(),
          .input_variance = input_variance.item<double>(),
          .backward_gain = backward_gain.item<double>()};
}

double ANActImpl::factor() const { return lambda(statistics(), normalization()); }

NormalizationOptions ANActImpl::normalization() const { return to_normalization(options); }

void ANActImpl::pretty_print(std::ostream& stream) const {
  const ANActOptions defaults(options.activation());
  stream << "ANAct(" << (options.custom() ? options.custom()->name : options.activation().to_string());
  if (options.statistics() != defaults.statistics()) stream << ", statistics=" << to_string(options.statistics());
  if (options.solution() != defaults.solution()) stream << ", solution=" << to_string(options.solution());
  if (options.target() != defaults.target()) stream << ", target=" << to_string(options.target());
  if (options.gain() != defaults.gain()) stream << ", gain=" << to_string(options.gain());
  if (options.centre() != defaults.centre()) stream << ", centre=false";
  if (options.momentum() != defaults.momentum()) stream << ", momentum=" << options.momentum();
  if (options.gate()) stream << ", gate=[" << options.gate()->first << ", " << options.gate()->second << "]";
  if (options.bounds() != defaults.bounds()) {
    stream << ", bounds=[" << options.bounds().first << ", " << options.bounds().second << "]";
  }
  if (options.learnable() != defaults.learnable()) stream << ", learnable=false";
  stream << ")";
}

std::shared_ptr<torch::nn::Module> ANActImpl::clone(const std::optional<torch::Device>& device) const {
  auto copy = Cloneable<ANActImpl>::clone(device);
  // Cloneable carries parameters and buffers; the count of refused batches is neither.
  static_cast<ANActImpl&>(*copy).num_batches_skipped =
      num_batches_skipped.to(alpha.device(), torch::kLong, false, true);
  return copy;
}

void ANActImpl::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  to(device, non_blocking);
  to(dtype, non_blocking);
}

void ANActImpl::to(torch::Dtype dtype, bool) {
  const auto statistics_type = dtype == torch::kDouble ? torch::kDouble : torch::kFloat;
  alpha.set_data(alpha.to(dtype));
  for (auto* buffer : {&output_mean, &output_square, &input_variance, &backward_gain}) {
    buffer->set_data(buffer->to(statistics_type));
  }
}

void ANActImpl::to(torch::Device device, bool non_blocking) {
  Cloneable<ANActImpl>::to(device, non_blocking);
  num_batches_skipped = num_batches_skipped.to(device, non_blocking);
}

ANAct NSwish() { return ANAct(ANActOptions("silu")); }
ANAct NReLU() { return ANAct(ANActOptions("relu")); }

namespace functional {

torch::Tensor anact(const torch::Tensor& input, const ANActOptions& options) {
  const auto scalar = torch::TensorOptions().dtype(torch::kFloat).device(input.device());
  const auto normal = gaussian_statistics(options);
  const ops::RunningStatistics running{
      torch::full({}, normal.output_mean, scalar), torch::full({}, normal.output_square, scalar),
      torch::full({}, normal.input_variance, scalar), torch::full({}, normal.backward_gain, scalar),
      torch::zeros({}, scalar.dtype(torch::kLong))};
  auto of_batch = options;
  of_batch.statistics(StatisticsSource::batch).momentum(1).gate(std::nullopt);
  return std::get<0>(run(input, torch::zeros({}, scalar), running, of_batch, true, std::nullopt));
}

}  // namespace functional

}  // namespace anact::nn
