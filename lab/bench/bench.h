// Times the normalized activation against PyTorch's own and against the same normalization in plain ATen.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/timing.h"

namespace anact::bench {

struct Options {
  std::vector<std::string> activations{"silu",       "gelu",      "gelu_tanh",   "mish",     "softplus",
                                       "elu",        "selu",      "celu",        "tanh",     "sigmoid",
                                       "logsigmoid", "softsign",  "tanhshrink",  "relu",     "leaky_relu",
                                       "relu6",      "hardswish", "hardsigmoid", "hardtanh", "softshrink"};
  std::vector<std::string> dtypes{"float32", "bfloat16"};  // float32, float64, bfloat16, float16
  std::vector<std::int64_t> sizes{4096, 65536, 1048576, 16777216, 67108864};
  std::vector<int> threads{1, 2};
  Budget budget{.rounds = 21, .seconds = 2, .turn = 2e-3};
};

// The times are those of one forward and backward pass.
struct Row {
  std::string activation;
  std::string dtype;
  std::int64_t elements = 0;
  int threads = 0;
  std::string instruction_set;        // of ANAct's kernels
  std::string torch_instruction_set;  // of PyTorch's
  std::size_t rounds = 0;
  Times anact;  // the module in training, with all its statistics
  Times torch;  // PyTorch's activation of the same name
  Times plain;  // the normalization written with ATen's operations; zeros above the size where it would take too long
  Times copy;   // a copy of the tensor
  double to_torch = 0;  // median ratio
  double to_plain = 0;
  double extra = 0;  // median difference of ANAct and PyTorch's activation, in microseconds
  // Bytes that a forward and backward pass must move (2 reads and 1 write more than a copy) per second, as a share of
  // what the copy moves.
  double bandwidth = 0;
};

// Throws std::invalid_argument for what it does not know.
void validate(const Options& options);

// Runs every combination; what the contenders compute is compared first. Calls `on_case` before and `on_row` after each
// of them. Throws as validate, and std::runtime_error when the contenders disagree.
std::vector<Row> run(const Options& options, const OnCase& on_case, const std::function<void(const Row&)>& on_row);

// All figures: one line a row, times in microseconds.
[[nodiscard]] std::string to_csv(const std::vector<Row>& rows);

// The header, or one row, of a Markdown table of the ratios.
[[nodiscard]] std::string markdown_header();
[[nodiscard]] std::string markdown_row(const Row& row);

}  // namespace anact::bench
