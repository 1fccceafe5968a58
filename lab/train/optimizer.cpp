#include "train/optimizer.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <torch/nn/utils/clip_grad.h>

#include <utility>

namespace anact::train {

Optimizer::Optimizer(const torch::nn::Module& network, const Config& config)
    : adam_(config.optimizer == "adamw"),
      momentum_(config.momentum),
      beta1_(config.beta1),
      beta2_(config.beta2),
      eps_(config.eps),
      nesterov_(config.nesterov),
      groups_(2) {
  groups_[0].weight_decay = config.weight_decay;
  groups_[1].weight_decay = config.decay_all ? config.weight_decay : 0;
  for (const auto& item : network.named_parameters()) {
    const auto& value = item.value();
    Parameter parameter{.name = item.key(), .value = value, .first = {}, .second = {}, .steps = {}};
    if (adam_ || momentum_ > 0) parameter.first = torch::zeros_like(value.detach());
    if (adam_) {
      parameter.second = torch::zeros_like(value.detach());
      parameter.steps = torch::zeros({}, value.options().dtype(torch::kFloat).requires_grad(false));
    }
    groups_[value.dim() >= 2 ? 0 : 1].parameters.push_back(std::move(parameter));
  }
}

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
  for (const auto& group : groups_) step(group, learning_rate);
}

void Optimizer::step(const Group& group, double learning_rate) {
  std::vector<torch::Tensor> values, gradients, first, second, steps;
  for (const auto& parameter : group.parameters) {
    if (!parameter.value.grad().defined()) continue;
    values.push_back(parameter.value);
    gradients.push_back(parameter.value.grad());
    if (parameter.first.defined()) first.push_back(parameter.first);
    if (adam_) {
      second.push_back(parameter.second);
      steps.push_back(parameter.steps.add_(1));
    }
  }
  if (values.empty()) return;
  if (adam_) {
    at::_fused_adamw_(values, gradients, first, second, {}, steps, learning_rate, beta1_, beta2_, group.weight_decay,
                      eps_, /*amsgrad=*/false, /*maximize=*/false);
  } else {
    at::_fused_sgd_(values, gradients, first, group.weight_decay, momentum_, learning_rate, /*dampening=*/0, nesterov_,
                    /*maximize=*/false, /*is_first_step=*/false);
  }
}

models::NamedTensors Optimizer::state() const {
  models::NamedTensors tensors;
  for (const auto& group : groups_) {
    for (const auto& parameter : group.parameters) {
      if (parameter.first.defined()) tensors.emplace_back(parameter.name + ".first", parameter.first);
      if (parameter.second.defined()) tensors.emplace_back(parameter.name + ".second", parameter.second);
      if (parameter.steps.defined()) tensors.emplace_back(parameter.name + ".steps", parameter.steps);
    }
  }
  return tensors;
}

}  // namespace anact::train
