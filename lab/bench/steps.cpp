#include "bench/steps.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>

#include "anact/nn.h"
#include "bench/instruction_set.h"
#include "bench/plain.h"
#include "kernels/kernels.h"
#include "models/catalogue.h"
#include "text/csv.h"
#include "text/words.h"

namespace anact::bench {
namespace {

constexpr std::int64_t kClasses = 10;
constexpr std::int64_t kInputs = 64;
constexpr std::int64_t kMostSamples = 65536;
// So small that no contender's weights move to where their arithmetic would take another time.
constexpr double kLearningRate = 1e-4;
// What logits and gradients may differ from the plain version's in float64, relative to their norm. Rounding may put
// an element on the other side of a kink, where the slope jumps: one of an MLP's 8192 moves a gradient by 1 %.
constexpr double kOutputTolerance = 1e-4;
constexpr double kGradientTolerance = 0.05;

struct Workload {
  const char* name;
  std::int64_t batch;
  bool images;
};
constexpr Workload kWorkloads[] = {{"mlp", 64, false}, {"cnn", 64, true}, {"resnet18", 32, true}};

const Workload& find_workload(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& workload : kWorkloads) {
    if (name == workload.name) return workload;
    known.emplace_back(workload.name);
  }
  throw std::invalid_argument("unknown network '" + name + "'; there are " + text::join(known));
}

struct Batch {
  torch::Tensor inputs;
  torch::Tensor labels;
};

Batch make_batch(const Workload& workload, std::int64_t size) {
  const auto generator = at::detail::createCPUGenerator(1);
  auto inputs = workload.images ? at::randn({size, 3, 32, 32}, generator, torch::TensorOptions(torch::kFloat))
                                      .contiguous(torch::MemoryFormat::ChannelsLast)
                                : at::randn({size, kInputs}, generator, torch::TensorOptions(torch::kFloat));
  return {std::move(inputs), torch::randint(kClasses, {size}, generator, torch::kLong)};
}

// A network in training, with the same weights whatever its activations are.
class Contender {
 public:
  Contender(const Workload& workload, const Activation& activation, models::ActivationFactory factory,
            const Batch& batch, torch::Dtype type)
      : batch_{batch.inputs.to(type), batch.labels} {
    models::NetworkOptions options{.name = workload.name,
                                   .channels = workload.images ? 3 : 1,
                                   .height = workload.images ? 32 : kInputs,
                                   .width = workload.images ? 32 : 1,
                                   .classes = kClasses,
                                   .activation = std::move(factory)};
    network_ = models::make_network(options);
    network_->initialize({.kind = models::Initialization::lecun, .activation = activation},
                         at::detail::createCPUGenerator(0));
    network_->to(type);
    for (auto& parameter : network_->parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(torch::MemoryFormat::ChannelsLast));
    }
    optimizer_ = std::make_unique<torch::optim::SGD>(network_->parameters(),
                                                     torch::optim::SGDOptions(kLearningRate).momentum(0.9));
  }

  // One forward and backward pass. Returns the logits.
  torch::Tensor differentiate() {
    optimizer_->zero_grad();
    const auto logits = network_->forward(batch_.inputs);
    loss_ = torch::nn::functional::cross_entropy(logits, batch_.labels);
    loss_.backward();
    return logits.detach();
  }

  void step() {
    (void)differentiate();
    optimizer_->step();
  }

  [[nodiscard]] double loss() const { return loss_.item<double>(); }
  [[nodiscard]] torch::OrderedDict<std::string, torch::Tensor> parameters() const {
    return network_->named_parameters();
  }

 private:
  Batch batch_;
  std::shared_ptr<models::Network> network_;
  std::unique_ptr<torch::optim::SGD> optimizer_;
  torch::Tensor loss_;
};

void compare_or_throw(const torch::Tensor& a, const torch::Tensor& b, double tolerance, const std::string& what) {
  const double difference = (a - b).norm().item<double>() / std::max(b.norm().item<double>(), 1e-30);
  if (!(difference <= tolerance)) {
    throw std::runtime_error("bench: " + what + " differs from the plain version in float64 by " +
                             text::format("%g", difference));
  }
}

// The first step's logits and gradient against those of the plain version.
void compare_first_step(Contender& ours, Contender& plain, const std::string& what) {
  compare_or_throw(ours.differentiate(), plain.differentiate(), kOutputTolerance, "the output of " + what);
  std::vector<torch::Tensor> alphas, plain_alphas;
  const auto expected = plain.parameters();
  for (const auto& item : ours.parameters()) {
    const auto& gradient = item.value().grad();
    const auto& plain_gradient = expected[item.key()].grad();
    if (item.key().ends_with("alpha")) {
      // A sum over positive and negative terms may come near 0; all of them together do not.
      alphas.push_back(gradient);
      plain_alphas.push_back(plain_gradient);
    } else {
      compare_or_throw(gradient, plain_gradient, kGradientTolerance, "the gradient of " + item.key() + " of " + what);
    }
  }
  compare_or_throw(torch::stack(alphas), torch::stack(plain_alphas), kGradientTolerance,
                   "the gradient of the alphas of " + what);
}

StepRow measure(const Workload& workload, const Activation& activation, std::int64_t samples, int threads,
                const Budget& budget) {
  at::set_num_threads(threads);
  const auto batch = make_batch(workload, samples);
  const auto make = [&](auto module_of, torch::Dtype type = torch::kFloat) {
    return Contender(
        workload, activation, [&activation, module_of] { return torch::nn::AnyModule(module_of(activation)); }, batch,
        type);
  };
  const auto what = std::string(workload.name) + " with " + activation.to_string();
  const auto normalized = [](const Activation& f) { return nn::ANAct(f); };
  {
    auto ours = make(normalized);
    auto plain = make([](const Activation& f) { return PlainNormalized(f); }, torch::kDouble);
    compare_first_step(ours, plain, what);
  }
  auto ours = make(normalized);
  auto torch = make([](const Activation& f) { return models::PlainActivation(f); });
  const auto times = alternate({[&] { ours.step(); }, [&] { torch.step(); }}, budget);
  for (const auto* contender : {&ours, &torch}) {
    if (!std::isfinite(contender->loss())) throw std::runtime_error("bench: a loss of " + what + " is not finite");
  }
  return {.network = workload.name,
          .activation = activation.to_string(),
          .batch = samples,
          .threads = threads,
          .instruction_set = kernels::instruction_set(),
          .torch_instruction_set = torch_instruction_set(),
          .rounds = times[0].size(),
          .anact = summarize(times[0]),
          .torch = summarize(times[1]),
          .to_torch = median_ratio(times[0], times[1]),
          .extra = median_difference(times[0], times[1])};
}

}  // namespace

void validate(const StepOptions& options) {
  for (const auto& network : options.networks) (void)find_workload(network);
  for (const auto& activation : options.activations) (void)parse_activation(activation);
  if (options.batch < 0 || options.batch > kMostSamples) {
    throw std::invalid_argument("batch is " + std::to_string(options.batch) + "; it must be from 1 to " +
                                std::to_string(kMostSamples));
  }
  check_threads(options.threads);
  check_budget(options.budget);
}

std::vector<StepRow> run(const StepOptions& options, const OnCase& on_case,
                         const std::function<void(const StepRow&)>& on_row) {
  validate(options);
  const std::size_t count = options.networks.size() * options.activations.size() * options.threads.size();
  std::vector<StepRow> rows;
  for (const auto& network : options.networks) {
    const auto& workload = find_workload(network);
    const auto batch = options.batch > 0 ? options.batch : workload.batch;
    for (const auto& name : options.activations) {
      const auto activation = parse_activation(name);
      for (const auto threads : options.threads) {
        on_case({.index = rows.size(),
                 .count = count,
                 .name = text::format("%s, %s, threads: %d", workload.name, activation.to_string().c_str(), threads)});
        rows.push_back(measure(workload, activation, batch, threads, options.budget));
        on_row(rows.back());
      }
    }
  }
  return rows;
}

std::string to_csv(const std::vector<StepRow>& rows) {
  std::string text = "network,activation,batch,threads,instruction_set,torch_instruction_set,rounds";
  for (const char* contender : {"anact", "torch"}) text += csv_times_header(contender);
  text += ",ratio_to_torch,extra_us\n";
  for (const auto& row : rows) {
    text += row.network + "," + text::csv_field(row.activation);
    text += text::format(",%lld,%d,%s,%s,%zu", static_cast<long long>(row.batch), row.threads,
                         row.instruction_set.c_str(), row.torch_instruction_set.c_str(), row.rounds);
    for (const auto* times : {&row.anact, &row.torch}) text += csv_times(*times);
    text += text::format(",%.4f,%.4g\n", row.to_torch, row.extra);
  }
  return text;
}

std::string step_markdown_header() {
  return "| network | activation | batch | threads | instruction set | PyTorch's | ANAct, ms | PyTorch's plain, ms | "
         "ANAct / plain activation | extra, µs |\n"
         "|---|---|--:|--:|---|---|--:|--:|--:|--:|\n";
}

std::string markdown_row(const StepRow& row) {
  const auto times = [](const Times& t) {
    return text::format("%.4g (%.4g–%.4g)", 1e-3 * t.p50, 1e-3 * t.p20, 1e-3 * t.p80);
  };
  return text::format("| %s | %s | %lld | %d | %s | %s | %s | %s | **%.3f** | %.0f |\n", row.network.c_str(),
                      row.activation.c_str(), static_cast<long long>(row.batch), row.threads,
                      row.instruction_set.c_str(), row.torch_instruction_set.c_str(), times(row.anact).c_str(),
                      times(row.torch).c_str(), row.to_torch, row.extra);
}

}  // namespace anact::bench
