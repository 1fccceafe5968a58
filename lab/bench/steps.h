// Times whole training steps with the normalized activation against the same with PyTorch's own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/timing.h"

namespace anact::bench {

struct StepOptions {
  // mlp: the demo's, 20 hidden layers of 128 units on 64 inputs. cnn: models::CNN as it is by default, and resnet18:
  // models::ResNet of that depth with the stem for CIFAR, both on images of 3x32x32 in channels_last. All have 10
  // classes.
  std::vector<std::string> networks{"mlp", "cnn", "resnet18"};
  std::vector<std::string> activations{"silu", "relu"};
  std::vector<int> threads{1, 2};
  std::int64_t batch = 0;  // samples to a step; 0 for each network's own: 64, 64, 32
  Budget budget{.rounds = 21, .seconds = 30, .turn = 5e-2};
};

struct StepRow {
  std::string network;
  std::string activation;
  std::int64_t batch = 0;
  int threads = 0;
  std::string instruction_set;        // of ANAct's kernels
  std::string torch_instruction_set;  // of PyTorch's
  std::size_t rounds = 0;
  Times anact;
  Times torch;
  double to_torch = 0;  // median ratio
  double extra = 0;     // median difference, in microseconds
};

// Throws std::invalid_argument for what it does not know.
void validate(const StepOptions& options);

// Runs every combination. A step is zero_grad, forward, cross-entropy, backward and SGD with momentum, in float32. Both
// contenders start from the same weights and train on the same batch, each of them for itself. First, the logits and
// the gradient of the network with ANAct are compared with those of the normalization in plain ATen, all of it in
// float64. Calls `on_case` before and `on_row` after each combination.
//
// Throws as validate, and std::runtime_error when the two disagree or a loss is not finite.
std::vector<StepRow> run(const StepOptions& options, const OnCase& on_case,
                         const std::function<void(const StepRow&)>& on_row);

// All figures: one line a row, times in microseconds.
[[nodiscard]] std::string to_csv(const std::vector<StepRow>& rows);

// The header, or one row, of a Markdown table: medians in milliseconds with the 20th and 80th percentile.
[[nodiscard]] std::string step_markdown_header();
[[nodiscard]] std::string markdown_row(const StepRow& row);

}  // namespace anact::bench
