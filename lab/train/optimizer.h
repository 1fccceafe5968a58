// The optimizers, by ATen's fused steps: one pass over each parameter.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/weights.h"
#include "train/config.h"

namespace anact::train {

// What optimizers have in common; each has its own state of a parameter and its own step. Weight decay applies to the
// weights of linear layers and convolutions, which are the parameters of two dimensions and more; with `decay_all` to
// every parameter.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  void zero_grad();

  // Scales the gradients so that the norm of all together is at most `largest` (torch.nn.utils.clip_grad_norm_).
  void clip_gradients(double largest);

  // Parameters without a gradient stay as they are.
  void step(double learning_rate);

  // What a checkpoint holds: the state by the parameters' names, "linear.weight.first". The tensors are the optimizer's
  // own.
  [[nodiscard]] models::NamedTensors state() const;

 protected:
  // A tensor that the optimizer keeps of each parameter.
  struct Slot {
    const char* name;  // in checkpoints
    torch::Tensor (*make)(const torch::Tensor& parameter);
  };
  // Those parameters of a group that have a gradient.
  struct Batch {
    std::vector<torch::Tensor> values;
    std::vector<torch::Tensor> gradients;
    std::vector<std::vector<torch::Tensor>> state;  // of each slot
  };

  Optimizer(const torch::nn::Module& network, const Config& config, std::vector<Slot> slots);

  // Zeros like the parameter, for moments.
  [[nodiscard]] static torch::Tensor moment(const torch::Tensor& parameter);

  virtual void update(const Batch& batch, double weight_decay, double learning_rate) = 0;

 private:
  struct Parameter {
    std::string name;
    torch::Tensor value;
    std::vector<torch::Tensor> state;
  };
  struct Group {
    double weight_decay = 0;
    std::vector<Parameter> parameters;
  };

  std::vector<Slot> slots_;
  std::vector<Group> groups_;
};

struct OptimizerInfo {
  std::string_view name;
  std::unique_ptr<Optimizer> (*make)(const torch::nn::Module& network, const Config& config);
};

// "sgd" (as torch.optim.SGD) and "adamw" (as torch.optim.AdamW).
[[nodiscard]] std::span<const OptimizerInfo> optimizers();

// The one that the configuration names. Throws std::invalid_argument with the nearest names for one that there is not.
[[nodiscard]] std::unique_ptr<Optimizer> make_optimizer(const torch::nn::Module& network, const Config& config);

}  // namespace anact::train
