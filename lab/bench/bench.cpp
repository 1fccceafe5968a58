#include "bench/bench.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <stdexcept>

#include "anact/nn.h"
#include "bench/instruction_set.h"
#include "bench/plain.h"
#include "bench/validation.h"
#include "kernels/kernels.h"
#include "ops/fallback/anact.h"
#include "text/csv.h"
#include "text/words.h"

namespace anact::bench {
namespace {

// Above this size the plain version takes seconds a pass, and says nothing new.
constexpr std::int64_t kLargestPlain = std::int64_t{1} << 24;
// Random numbers to a tensor: a larger one holds them again and again, since drawing more would take longer than
// timing.
constexpr std::int64_t kPiece = std::int64_t{1} << 20;

torch::Dtype parse_dtype(const std::string& name) {
  if (name == "float32") return torch::kFloat;
  if (name == "float64") return torch::kDouble;
  if (name == "bfloat16") return torch::kBFloat16;
  if (name == "float16") return torch::kHalf;
  throw std::invalid_argument("unknown type '" + name + "'; there are float32, float64, bfloat16, float16");
}

torch::Tensor random(std::int64_t size, torch::Dtype dtype) {
  const auto piece = torch::randn({std::min(size, kPiece)}).to(dtype);
  return piece.repeat({(size + kPiece - 1) / kPiece}).slice(0, 0, size).contiguous();
}

Row measure(const Activation& activation, const std::string& dtype_name, std::int64_t size, int threads,
            const Budget& budget) {
  const auto dtype = parse_dtype(dtype_name);
  torch::manual_seed(0);
  at::set_num_threads(threads);
  const auto x = random(size, dtype).requires_grad_(true);
  const auto g = random(size, dtype);
  {
    nn::ANAct first(activation);
    const auto y = first->forward(x);
    const auto gradients = torch::autograd::grad({y}, {x, first->alpha}, {g});
    check_first_step(activation, x, g, y, gradients[0], gradients[1]);
  }

  nn::ANAct module(activation);
  PlainNormalized plain(activation);
  auto target = torch::empty_like(g);
  std::vector<std::function<void()>> contenders{
      [&] {
        (void)torch::autograd::grad({module->forward(x)}, {x, module->alpha}, {g});
      },
      [&] { (void)torch::autograd::grad({ops::fallback::value(activation, x)}, {x}, {g}); }, [&] { target.copy_(g); }};
  if (size <= kLargestPlain) {
    contenders.emplace_back([&] { (void)torch::autograd::grad({plain->forward(x)}, {x, plain->alpha}, {g}); });
  }
  const auto samples = alternate(contenders, budget);

  const bool with_plain = samples.size() > 3;
  return {.activation = activation.to_string(),
          .dtype = dtype_name,
          .elements = size,
          .threads = threads,
          .instruction_set = kernels::instruction_set(),
          .torch_instruction_set = torch_instruction_set(),
          .rounds = samples[0].size(),
          .anact = summarize(samples[0]),
          .torch = summarize(samples[1]),
          .plain = with_plain ? summarize(samples[3]) : Times{},
          .copy = summarize(samples[2]),
          .to_torch = median_ratio(samples[0], samples[1]),
          .to_plain = with_plain ? median_ratio(samples[0], samples[3]) : 0,
          .extra = median_difference(samples[0], samples[1]),
          // Forward reads x and writes y, backward reads x and g and writes dx: five movements to the copy's two.
          .bandwidth = 2.5 * median_ratio(samples[2], samples[0])};
}

}  // namespace

void validate(const Options& options) {
  for (const auto& activation : options.activations) (void)parse_activation(activation);
  for (const auto& dtype : options.dtypes) (void)parse_dtype(dtype);
  for (const auto size : options.sizes) {
    if (size < 1) throw std::invalid_argument("a size is " + std::to_string(size) + "; it must be at least 1 element");
  }
  check_threads(options.threads);
  check_budget(options.budget);
}

std::vector<Row> run(const Options& options, const OnCase& on_case, const std::function<void(const Row&)>& on_row) {
  validate(options);
  const std::size_t count =
      options.activations.size() * options.dtypes.size() * options.sizes.size() * options.threads.size();
  std::vector<Row> rows;
  for (const auto& name : options.activations) {
    const auto activation = parse_activation(name);
    for (const auto& dtype : options.dtypes) {
      for (const auto size : options.sizes) {
        for (const auto threads : options.threads) {
          on_case({.index = rows.size(),
                   .count = count,
                   .name = text::format("%s, %s, %lld elements, threads: %d", activation.to_string().c_str(),
                                        dtype.c_str(), static_cast<long long>(size), threads)});
          rows.push_back(measure(activation, dtype, size, threads, options.budget));
          on_row(rows.back());
        }
      }
    }
  }
  return rows;
}

std::string to_csv(const std::vector<Row>& rows) {
  std::string text = "activation,dtype,elements,threads,instruction_set,torch_instruction_set,rounds";
  for (const char* contender : {"anact", "torch", "plain", "copy"}) text += csv_times_header(contender);
  text += ",ratio_to_torch,ratio_to_plain,extra_us,share_of_copy_bandwidth\n";
  for (const auto& row : rows) {
    text += text::csv_field(row.activation);
    text += text::format(",%s,%lld,%d,%s,%s,%zu", row.dtype.c_str(), static_cast<long long>(row.elements), row.threads,
                         row.instruction_set.c_str(), row.torch_instruction_set.c_str(), row.rounds);
    for (const auto* times : {&row.anact, &row.torch, &row.plain, &row.copy}) text += csv_times(*times);
    text += text::format(",%.4f,%.4f,%.4g,%.4f\n", row.to_torch, row.to_plain, row.extra, row.bandwidth);
  }
  return text;
}

std::string markdown_header() {
  return "| activation | type | elements | threads | instruction set | PyTorch's | ANAct, µs | PyTorch's plain, µs | "
         "ANAct / plain activation | extra, µs | ANAct / plain-ATen ANAct | share of copy bandwidth |\n"
         "|---|---|--:|--:|---|---|--:|--:|--:|--:|--:|--:|\n";
}

std::string markdown_row(const Row& row) {
  return text::format("| %s | %s | %lld | %d | %s | %s | %.1f | %.1f | **%.2f** | %.1f | %s | %.0f %% |\n",
                      row.activation.c_str(), row.dtype.c_str(), static_cast<long long>(row.elements), row.threads,
                      row.instruction_set.c_str(), row.torch_instruction_set.c_str(), row.anact.p50, row.torch.p50,
                      row.to_torch, row.extra, row.to_plain > 0 ? text::format("%.3f", row.to_plain).c_str() : "–",
                      100 * row.bandwidth);
}

}  // namespace anact::bench
