// The normalization as a user of PyTorch would write it, with ATen's operations.
#pragma once

#include "anact/nn.h"

namespace anact::bench {

// ANAct with its default options: the previous statistics, all five sums, alpha learnt.
class PlainNormalizedImpl : public torch::nn::Module {
 public:
  explicit PlainNormalizedImpl(const Activation& activation);

  // As nn::ANAct's in training.
  torch::Tensor forward(const torch::Tensor& input);

  torch::Tensor alpha;

 private:
  Activation activation_;
  std::int64_t batches_ = 0;
  nn::ANAct state_;  // the statistics; its forward is not called
};
TORCH_MODULE(PlainNormalized);

}  // namespace anact::bench
