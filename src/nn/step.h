// What one call of the module does, in C++ and in Python: the operators in their order, and what activation
// checkpointing needs remembered of them.
#pragma once

#include <torch/types.h>

#include <optional>
#include <tuple>
#include <vector>

#include "anact/nn.h"
#include "ops/anact.h"

namespace anact::nn {

// Throws std::invalid_argument when the options contradict each other.
void validate(const ANActOptions& options);

[[nodiscard]] NormalizationOptions to_normalization(const ANActOptions& options);
[[nodiscard]] ops::UpdateOptions to_update(const ANActOptions& options);

// The statistics of the options' activation under N(0, 1). Throws std::invalid_argument for a custom one that is not
// finite.
[[nodiscard]] Statistics gaussian_statistics(const ANActOptions& options);

// ops::forward with what the options say.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> forward(
    const torch::Tensor& input, const torch::Tensor& alpha, const ops::RunningStatistics& running,
    const ANActOptions& options, bool training, const std::optional<torch::Tensor>& known_factors = std::nullopt);

class Step {
 public:
  // y; in training, `running` and `num_skipped` are updated in place. A pass that activation checkpointing runs again
  // uses the factors of the first and updates nothing.
  torch::Tensor forward(const torch::Tensor& input, const torch::Tensor& alpha, const ops::RunningStatistics& running,
                        const torch::Tensor& num_skipped, const ANActOptions& options, bool training);

 private:
  struct Pass {
    torch::Tensor moments;
    torch::Tensor factors;
  };
  static constexpr std::size_t kPasses = 64;

  void remember(Pass pass);
  [[nodiscard]] std::optional<torch::Tensor> find_factors(const torch::Tensor& moments) const;

  std::vector<Pass> passes_;  // a ring of the last kPasses under checkpointing
  std::size_t next_pass_ = 0;
};

}  // namespace anact::nn
