#include "train/optimizer.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <torch/nn/utils/clip_grad.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "math/names.h"

namespace anact::train {
namespace {

class Sgd : public Optimizer {
 public:
  Sgd(const torch::nn::Module& network, const Config& config)
      : Optimizer(network, config, config.momentum > 0 ? std::vector<Slot>{{"first", moment}} : std::vector<Slot>{}),
        momentum_(config.momentum),
        nesterov_(config.nesterov) {}

 private:
  void update(const Batch& batch, double weight_decay, double learning_rate) override {
    const std::vector<torch::Tensor> none;
    at::_fused_sgd_(batch.values, batch.gradients, batch.state.empty() ? none : batch.state[0], weight_decay, momentum_,
                    learning_rate, /*dampening=*/0, nesterov_, /*maximize=*/false, /*is_first_step=*/false);
  }

  double momentum_;
  bool nesterov_;
};

class AdamW : public Optimizer {
 public:
  AdamW(const torch::nn::Module& network, const Config& config)
      : Optimizer(network, config, {{"first", moment}, {"second", moment}, {"steps", count}}),
        beta1_(config.beta1),
        beta2_(config.beta2),
        eps_(config.eps) {}

 private:
  static torch::Tensor count(const torch::Tensor& parameter) {
    return torch::zeros({}, parameter.options().dtype(torch::kFloat).requires_grad(false));
  }

  void update(const Batch& batch, double weight_decay, double learning_rate) override {
    const auto& steps = batch.state[2];
    for (const auto& step : steps) step.add_(1);
    at::_fused_adamw_(batch.values, batch.gradients, batch.state[0], batch.state[1], {}, steps, learning_rate, beta1_,
                      beta2_, weight_decay, eps_, /*amsgrad=*/false, /*maximize=*/false);
  }

  double beta1_, beta2_, eps_;
};

template <class Kind>
std::unique_ptr<Optimizer> make(const torch::nn::Module& network, const Config& config) {
  return std::make_unique<Kind>(network, config);
}

constexpr std::array<OptimizerInfo, 2> kOptimizers{{{"sgd", make<Sgd>}, {"adamw", make<AdamW>}}};

}  // namespace

Optimizer::Optimizer(const torch::nn::Module& network, const Config& config, std::vector<Slot> slots)
    : slots_(std::move(slots)), groups_(2) {
  groups_[0].weight_decay = config.weight_decay;
  groups_[1].weight_decay = config.decay_all ? config.weight_decay : 0;
  for (const auto& item : network.named_parameters()) {
    const auto& value = item.value();
    Parameter parameter{.name = item.key(), .value = value, .state = {}};
    for (const auto& slot : slots_) parameter.state.push_back(slot.make(value));
    groups_[value.dim() >= 2 ? 0 : 1].parameters.push_back(std::move(parameter));
  }
}

torch::Tensor Optimizer::moment(const torch::Tensor& parameter) { return torch::zeros_like(parameter.detach()); }

void Optimizer::zero_grad() {
  for (auto& group : groups_) {
    for (auto& parameter : group.parameters) parameter.value.mutable_grad().reset();
  }
}

void Optimizer::clip_gradients(double largest) {
  std::vector<torch::Tensor> values;
  for (const auto& group : groups_) {
    for (const auto& parameter : group.parameters) values.push_back(parameter.value);
  }
  torch::nn::utils::clip_grad_norm_(values, largest);
}

void Optimizer::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  for (const auto& group : groups_) {
    Batch batch{.values = {}, .gradients = {}, .state = std::vector<std::vector<torch::Tensor>>(slots_.size())};
    for (const auto& parameter : group.parameters) {
      if (!parameter.value.grad().defined()) continue;
      batch.values.push_back(parameter.value);
      batch.gradients.push_back(parameter.value.grad());
      for (std::size_t i = 0; i < slots_.size(); ++i) batch.state[i].push_back(parameter.state[i]);
    }
    if (!batch.values.empty()) update(batch, group.weight_decay, learning_rate);
  }
}

models::NamedTensors Optimizer::state() const {
  models::NamedTensors tensors;
  for (const auto& group : groups_) {
    for (const auto& parameter : group.parameters) {
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        tensors.emplace_back(parameter.name + "." + slots_[i].name, parameter.state[i]);
      }
    }
  }
  return tensors;
}

std::span<const OptimizerInfo> optimizers() { return kOptimizers; }

std::unique_ptr<Optimizer> make_optimizer(const torch::nn::Module& network, const Config& config) {
  const auto found = std::ranges::find(kOptimizers, config.optimizer, &OptimizerInfo::name);
  if (found != kOptimizers.end()) return found->make(network, config);
  throw std::invalid_argument(unknown_choice("optimizer", config.optimizer, names_of(kOptimizers)));
}

}  // namespace anact::train
