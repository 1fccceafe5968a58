// The optimizers, by ATen's fused steps: one pass over each parameter.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <vector>

#include "models/weights.h"
#include "train/config.h"

namespace anact::train {

// SGD (as torch.optim.SGD) or AdamW (as torch.optim.AdamW), as the configuration says. Weight decay applies to the
// weights of linear layers and convolutions, which are the parameters of two dimensions and more; with `decay_all` to
// every parameter.
class Optimizer {
 public:
  Optimizer(const torch::nn::Module& network, const Config& config);

  void zero_grad();

  // Scales the gradients so that the norm of all together is at most `largest` (torch.nn.utils.clip_grad_norm_).
  void clip_gradients(double largest);

  // Parameters without a gradient stay as they are.
  void step(double learning_rate);

  // What a checkpoint holds: the moments by the parameters' names. The tensors are the optimizer's own.
  [[nodiscard]] models::NamedTensors state() const;

 private:
  struct Parameter {
    std::string name;
    torch::Tensor value;
    torch::Tensor first;   // SGD's momentum, or Adam's first moment
    torch::Tensor second;  // Adam's second moment
    torch::Tensor steps;   // Adam's count
  };
  struct Group {
    double weight_decay = 0;
    std::vector<Parameter> parameters;
  };

  void step(const Group& group, double learning_rate);

  bool adam_;
  double momentum_, beta1_, beta2_, eps_;
  bool nesterov_;
  std::vector<Group> groups_;
};

}  // namespace anact::train
