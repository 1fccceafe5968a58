#include "bench/bench.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <utility>

#include "anact/nn.h"
#include "io/csv.h"
#include "kernels/kernels.h"
#include "ops/fallback/anact.h"

namespace anact::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Above this size the plain version takes seconds a pass, and says nothing new.
constexpr std::int64_t kLargestPlain = std::int64_t{1} << 24;

torch::Dtype parse_dtype(const std::string& name) {
  if (name == "float32") return torch::kFloat;
  if (name == "float64") return torch::kDouble;
  if (name == "bfloat16") return torch::kBFloat16;
  if (name == "float16") return torch::kHalf;
  throw std::invalid_argument("unknown type '" + name + "'; there are float32, float64, bfloat16, float16");
}

// The same normalization as a user of PyTorch would write it: previous statistics, all five sums, alpha learnt.
class PlainNormalized {
 public:
  explicit PlainNormalized(const Activation& activation) : activation_(activation), module_(activation) {}

  torch::Tensor operator()(const torch::Tensor& x) {
    const auto f = ops::fallback::value(activation_, x);
    const auto mean = module_->output_mean.clone();
    const auto rho = module_->output_square / module_->input_variance;
    const auto lambda = torch::sqrt((1 / rho + 1 / module_->backward_gain) / 2);
    const auto scale = (lambda + kAlphaRange * torch::tanh(module_->alpha)).to(x.scalar_type());
    const auto y = scale * (f - mean.to(x.scalar_type()));
    const torch::NoGradGuard no_grad;
    const auto mix = [](torch::Tensor& running, const torch::Tensor& batch) {
      running.lerp_(batch.to(torch::kFloat), 0.1);
    };
    mix(module_->output_mean, f.mean());
    mix(module_->output_square, f.square().mean());
    mix(module_->input_variance, x.var(false));
    mix(module_->backward_gain, ops::fallback::derivative(activation_, x).square().mean());
    return y;
  }

  torch::Tensor alpha() { return module_->alpha; }

 private:
  Activation activation_;
  nn::ANAct module_;
};

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(position);
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (position - static_cast<double>(low)) * (values[high] - values[low]);
}

Times summarize(const std::vector<double>& seconds) {
  if (seconds.empty()) return {};
  return {1e6 * quantile(seconds, 0.2), 1e6 * quantile(seconds, 0.5), 1e6 * quantile(seconds, 0.8)};
}

double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  return ratios.empty() ? 0 : quantile(ratios, 0.5);
}

void compare_or_throw(const torch::Tensor& a, const torch::Tensor& b, double tolerance, const std::string& what) {
  const double difference = ((a - b).abs() / (b.abs() + 1)).max().item<double>();
  if (!(difference <= tolerance)) {
    throw std::runtime_error("bench: " + what + " differs from the plain version by " + std::to_string(difference));
  }
}

Row measure(const std::string& name, const std::string& dtype_name, std::int64_t size, int threads, int rounds) {
  const auto activation = parse_activation(name);
  const auto dtype = parse_dtype(dtype_name);
  torch::manual_seed(0);
  at::set_num_threads(threads);
  const auto x = torch::randn({size}).to(dtype).requires_grad_(true);
  const auto g = torch::randn({size}).to(dtype);
  auto target = torch::empty_like(g);

  nn::ANAct module(activation);
  PlainNormalized plain(activation);
  const auto differentiate = [&](const torch::Tensor& y, const torch::Tensor& parameter) {
    return parameter.defined() ? torch::autograd::grad({y}, {x, parameter}, {g}) : torch::autograd::grad({y}, {x}, {g});
  };
  const auto run_anact = [&] { (void)differentiate(module->forward(x), module->alpha); };
  const auto run_torch = [&] { (void)differentiate(ops::fallback::value(activation, x), {}); };
  const auto run_plain = [&] { (void)differentiate(plain(x), plain.alpha()); };
  const auto run_copy = [&] { target.copy_(g); };

  {
    // The first step of both starts from the same statistics.
    const auto ours = module->forward(x);
    const auto theirs = plain(x);
    const double tolerance = dtype == torch::kBFloat16 ? 0.05 : dtype == torch::kHalf ? 0.01 : 1e-5;
    compare_or_throw(ours, theirs, tolerance, "the output of " + name);
    compare_or_throw(differentiate(ours, module->alpha)[0], differentiate(theirs, plain.alpha())[0], tolerance,
                     "the gradient of " + name);
  }

  const bool with_plain = size <= kLargestPlain;
  std::array<std::function<void()>, 4> contenders{run_anact, run_torch, run_copy, run_plain};
  const std::size_t count = with_plain ? 4 : 3;
  // Enough passes for two milliseconds, so that the clock's own cost does not count.
  std::array<int, 4> passes{};
  for (std::size_t c = 0; c < count; ++c) {
    contenders[c]();
    const auto start = Clock::now();
    contenders[c]();
    const double once = std::chrono::duration<double>(Clock::now() - start).count();
    passes[c] = std::clamp(static_cast<int>(2e-3 / std::max(once, 1e-7)), 1, 10000);
  }
  std::array<std::vector<double>, 4> seconds;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < count; ++turn) {
      const std::size_t c = (turn + static_cast<std::size_t>(round)) % count;
      const auto start = Clock::now();
      for (int pass = 0; pass < passes[c]; ++pass) contenders[c]();
      seconds[c].push_back(std::chrono::duration<double>(Clock::now() - start).count() / passes[c]);
    }
  }

  Row row{.activation = activation.to_string(),
          .dtype = dtype_name,
          .elements = size,
          .threads = threads,
          .instruction_set = kernels::instruction_set(),
          .anact = summarize(seconds[0]),
          .torch = summarize(seconds[1]),
          .plain = summarize(seconds[3]),
          .copy = summarize(seconds[2])};
  row.to_torch = median_ratio(seconds[0], seconds[1]);
  row.to_plain = median_ratio(seconds[0], seconds[3]);
  // Forward reads x and writes y, backward reads x and g and writes dx: five movements to the copy's two.
  row.bandwidth = 2.5 * median_ratio(seconds[2], seconds[0]);
  return row;
}

}  // namespace

std::vector<Row> run(const Options& options, const std::function<void(const Row&)>& progress) {
  if (options.rounds < 1) throw std::invalid_argument("rounds must be at least 1");
  for (const auto size : options.sizes) {
    if (size < 1) throw std::invalid_argument("a size must be at least 1 element");
  }
  for (const auto threads : options.threads) {
    if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  }
  auto sets = options.instruction_sets;
  if (sets.empty()) sets.push_back(kernels::instruction_set());
  std::vector<Row> rows;
  for (const auto& set : sets) {
    kernels::use_instruction_set(set);
    for (const auto& activation : options.activations) {
      for (const auto& dtype : options.dtypes) {
        for (const auto size : options.sizes) {
          for (const auto threads : options.threads) {
            rows.push_back(measure(activation, dtype, size, threads, options.rounds));
            progress(rows.back());
          }
        }
      }
    }
  }
  kernels::use_instruction_set("");
  return rows;
}

std::string to_csv(const std::vector<Row>& rows) {
  std::string text = "activation,dtype,elements,threads,instruction_set";
  for (const char* contender : {"anact", "torch", "plain", "copy"}) {
    for (const char* percentile : {"p20", "p50", "p80"})
      text.append(",").append(contender).append("_us_").append(percentile);
  }
  text += ",ratio_to_torch,ratio_to_plain,share_of_copy_bandwidth\n";
  for (const auto& row : rows) {
    char line[512];
    std::snprintf(line, sizeof line, ",%s,%lld,%d,%s", row.dtype.c_str(), static_cast<long long>(row.elements),
                  row.threads, row.instruction_set.c_str());
    text += io::csv_field(row.activation);
    text += line;
    for (const auto* times : {&row.anact, &row.torch, &row.plain, &row.copy}) {
      std::snprintf(line, sizeof line, ",%.4g,%.4g,%.4g", times->p20, times->p50, times->p80);
      text += line;
    }
    std::snprintf(line, sizeof line, ",%.4f,%.4f,%.4f\n", row.to_torch, row.to_plain, row.bandwidth);
    text += line;
  }
  return text;
}

std::string markdown_header() {
  return "| activation | type | elements | threads | instruction set | ANAct, µs | PyTorch's plain, µs | ANAct / plain "
         "activation | ANAct / plain-ATen ANAct | share of copy bandwidth |\n"
         "|---|---|--:|--:|---|--:|--:|--:|--:|--:|\n";
}

std::string markdown_row(const Row& row) {
  char line[256];
  char plain[16] = "–";
  if (row.to_plain > 0) std::snprintf(plain, sizeof plain, "%.3f", row.to_plain);
  std::snprintf(line, sizeof line, "| %s | %s | %lld | %d | %s | %.1f | %.1f | **%.2f** | %s | %.0f %% |\n",
                row.activation.c_str(), row.dtype.c_str(), static_cast<long long>(row.elements), row.threads,
                row.instruction_set.c_str(), row.anact.p50, row.torch.p50, row.to_torch, plain, 100 * row.bandwidth);
  return line;
}

}  // namespace anact::bench
