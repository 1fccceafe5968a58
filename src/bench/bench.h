// Times the normalized activation against PyTorch's own and against the same normalization in plain ATen.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace anact::bench {

struct Options {
  std::vector<std::string> activations{"silu", "relu"};
  std::vector<std::string> dtypes{"float32"};  // float32, float64, bfloat16, float16
  std::vector<std::int64_t> sizes{16384, 262144, 1048576, 16777216};
  std::vector<int> threads{1, 2};
  std::vector<std::string> instruction_sets;  // empty: the best one alone
  int rounds = 21;
};

// The 20th, 50th and 80th percentile of the time of one forward and backward pass, in microseconds.
struct Times {
  double p20 = 0;
  double p50 = 0;
  double p80 = 0;
};

struct Row {
  std::string activation;
  std::string dtype;
  std::int64_t elements = 0;
  int threads = 0;
  std::string instruction_set;
  Times anact;  // the module in training, with all its statistics
  Times torch;  // PyTorch's activation of the same name, with PyTorch's own choice of instruction set
  Times plain;  // the normalization written with ATen's operations; zeros above the size where it would take too long
  Times copy;   // a copy of the tensor
  // Medians over the rounds of the ratio of two times taken in the same round.
  double to_torch = 0;
  double to_plain = 0;
  // Bytes that a forward and backward pass must move (2 reads and 1 write more than a copy) per second, as a share of
  // what the copy moves.
  double bandwidth = 0;
};

// Runs every combination. In each round the contenders take turns, in an order that rotates; what they compute is
// compared first. Calls `progress` with each row as it is done. Throws std::invalid_argument for what it does not know,
// and std::runtime_error when the contenders disagree.
std::vector<Row> run(const Options& options, const std::function<void(const Row&)>& progress);

// All figures: one line a row, times in microseconds.
[[nodiscard]] std::string to_csv(const std::vector<Row>& rows);

// The header, or one row, of a Markdown table of the ratios.
[[nodiscard]] std::string markdown_header();
[[nodiscard]] std::string markdown_row(const Row& row);

}  // namespace anact::bench
