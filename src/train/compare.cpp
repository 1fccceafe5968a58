#include "train/compare.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/sgd.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <utility>

#include "io/atomic_file.h"
#include "io/json_lines.h"
#include "models/mlp.h"
#include "train/environment.h"

namespace anact::train {
namespace {

using Clock = std::chrono::steady_clock;

// Samples on which the layers are measured.
constexpr std::int64_t kProbeSamples = 256;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A stream of random numbers of its own for each purpose, so that one arm's use of it does not shift another's.
at::Generator generator(std::int64_t seed, std::uint64_t purpose) {
  // SplitMix64 (Steele, Lea and Flood 2014): nearby seeds give unrelated streams.
  std::uint64_t z = static_cast<std::uint64_t>(seed) * 0x9e3779b97f4a7c15 + purpose + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return at::detail::createCPUGenerator(z ^ (z >> 31));
}

constexpr std::uint64_t kWeightPurpose = 0;
constexpr std::uint64_t kFirstOrderPurpose = 1;  // plus the epoch

// The ANAct modules of a network, first layer first.
std::vector<const nn::ANActImpl*> anact_modules(const torch::nn::Module& network) {
  std::vector<const nn::ANActImpl*> found;
  for (const auto& module : network.modules(false)) {
    if (const auto* normalized = module->as<nn::ANAct>()) found.push_back(normalized);
  }
  return found;
}

// Puts a module's buffers and counts back as they were, so that measuring it in training mode leaves no trace.
class KeepBuffers {
 public:
  explicit KeepBuffers(const torch::nn::Module& module) {
    for (const auto& buffer : module.buffers()) keep(buffer);
    // The count of refused batches is no buffer.
    for (const auto* normalized : anact_modules(module)) keep(normalized->num_batches_skipped);
  }
  KeepBuffers(const KeepBuffers&) = delete;
  KeepBuffers& operator=(const KeepBuffers&) = delete;
  ~KeepBuffers() {
    const torch::NoGradGuard no_grad;
    for (auto& [buffer, copy] : saved_) buffer.copy_(copy);
  }

 private:
  void keep(const torch::Tensor& tensor) { saved_.emplace_back(tensor, tensor.clone()); }

  std::vector<std::pair<torch::Tensor, torch::Tensor>> saved_;
};

struct Evaluation {
  double loss = 0;
  double accuracy = 0;
};

double correct(const torch::Tensor& logits, const torch::Tensor& labels) {
  return logits.argmax(1).eq(labels).sum().item<double>();
}

Evaluation evaluate(models::MLP& model, const data::Samples& samples) {
  const torch::NoGradGuard no_grad;
  model->eval();
  const auto logits = model->forward(samples.inputs);
  model->train();
  return {.loss = torch::nn::functional::cross_entropy(logits, samples.labels).item<double>(),
          .accuracy = correct(logits, samples.labels) / static_cast<double>(samples.size())};
}

// Text that came from outside, such as a path, need not be the UTF-8 that JSON is made of.
std::string json_text(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

nlohmann::json numbers(const std::vector<double>& values) {
  auto result = nlohmann::json::array();
  for (const double value : values) result.push_back(io::number(value));
  return result;
}

// The mean of f over all elements, added up in order on one thread: the same bits for every number of threads.
template <class F>
double mean_of(const torch::Tensor& tensor, F f) {
  const auto values = tensor.detach().to(torch::kDouble).contiguous();
  const double* data = values.const_data_ptr<double>();
  double sum = 0;
  for (std::int64_t i = 0; i < values.numel(); ++i) sum += f(data[i]);
  return sum / static_cast<double>(values.numel());
}

double second_moment(const torch::Tensor& tensor) {
  return mean_of(tensor, [](double x) { return x * x; });
}

double variance(const torch::Tensor& tensor) {
  const double mean = mean_of(tensor, [](double x) { return x; });
  return mean_of(tensor, [mean](double x) { return (x - mean) * (x - mean); });
}

// The members of a `layers` event that describe the network as it is, in training mode.
nlohmann::json measure_layers(models::MLP& model, const data::Samples& samples) {
  const KeepBuffers keep(*model);
  std::vector<double> lambdas;  // before the pass below changes the statistics
  for (const auto* normalized : anact_modules(*model)) lambdas.push_back(normalized->factor());
  const auto count = std::min(kProbeSamples, samples.size());
  models::Trace trace;
  const auto logits = model->forward(samples.inputs.slice(0, 0, count), &trace);
  const auto loss = torch::nn::functional::cross_entropy(logits, samples.labels.slice(0, 0, count));
  const auto gradients = torch::autograd::grad({loss}, trace.linear_outputs);

  std::vector<double> second_moments;
  std::vector<double> gradient_variances;
  for (const auto& output : trace.activations) second_moments.push_back(second_moment(output));
  for (const auto& gradient : gradients) gradient_variances.push_back(variance(gradient));
  nlohmann::json result{{"activation_second_moment", numbers(second_moments)},
                        {"gradient_variance", numbers(gradient_variances)}};
  if (!lambdas.empty()) result["lambda"] = numbers(lambdas);
  return result;
}

bool parameters_finite(const torch::nn::Module& module) {
  for (const auto& parameter : module.parameters()) {
    if (!std::isfinite(parameter.detach().sum().item<double>())) return false;
  }
  return true;
}

std::int64_t skipped_batches(const models::MLP& model) {
  std::int64_t total = 0;
  for (const auto* normalized : anact_modules(*model)) {
    total += normalized->num_batches_skipped.item<std::int64_t>();
  }
  return total;
}

// One arm with one seed.
class Run {
 public:
  Run(const CompareOptions& options, const Arm& arm, const data::Dataset& dataset, io::JsonLines& metrics,
      CompareObserver& observer, const std::atomic<bool>& stop, Progress progress)
      : options_(options),
        arm_(arm),
        dataset_(dataset),
        metrics_(metrics),
        observer_(observer),
        stop_(stop),
        progress_(std::move(progress)),
        model_(models::MLPOptions{.inputs = dataset.train.inputs.size(1),
                                  .classes = dataset.classes,
                                  .depth = options.depth,
                                  .width = options.width,
                                  .batch_norm = arm.normalization == Normalization::batch,
                                  .activation = arm.factory()}),
        learning_rate_(arm.learning_rate.value_or(options.learning_rate)),
        optimizer_(
            model_->parameters(),
            torch::optim::SGDOptions(learning_rate_).momentum(options.momentum).weight_decay(options.weight_decay)) {
    model_->initialize(arm.initialization, arm.activation, generator(progress_.seed, kWeightPurpose));
  }

  // False when stopped from outside.
  bool operator()() {
    const auto start = Clock::now();
    record_epoch(0, std::nullopt);
    for (std::int64_t epoch = 1; epoch <= options_.epochs && divergence_.empty(); ++epoch) {
      const auto training = train_epoch(epoch);
      if (stop_) return false;
      if (training) record_epoch(epoch, training);
    }
    const bool diverged = !divergence_.empty();
    metrics_.append(event(
        "finished", {{"status", diverged ? "diverged" : "completed"}, {"skipped_batches", skipped_batches(model_)}}));
    observer_.run_ended(progress_, {.arm = arm_.name,
                                    .seed = progress_.seed,
                                    .diverged = diverged,
                                    .divergence = divergence_,
                                    .test_accuracy = test_.accuracy,
                                    .test_loss = test_.loss,
                                    .seconds = seconds_since(start)});
    return true;
  }

 private:
  struct Training {
    double loss = 0;
    double accuracy = 0;
    double seconds = 0;
  };

  nlohmann::json event(const char* kind, const nlohmann::json& members) const {
    nlohmann::json result{{"event", kind}, {"arm", arm_.name}, {"seed", progress_.seed}};
    result.update(members);
    return result;
  }

  void diverge(std::int64_t epoch, const std::string& reason) {
    divergence_ = "epoch " + std::to_string(epoch) + ", step " + std::to_string(progress_.step) + ": " + reason;
    metrics_.append(event("diverged", {{"epoch", epoch}, {"step", progress_.step}, {"reason", reason}}));
  }

  // Nothing when the run diverged or was stopped.
  std::optional<Training> train_epoch(std::int64_t epoch) {
    const auto start = Clock::now();
    const auto& samples = dataset_.train;
    const auto order = torch::randperm(
        samples.size(), generator(progress_.seed, kFirstOrderPurpose + static_cast<std::uint64_t>(epoch)),
        torch::kLong);
    Training result;
    std::int64_t seen = 0;
    progress_.epoch = epoch;
    for (std::int64_t begin = 0; begin < samples.size(); begin += options_.batch_size) {
      if (stop_) return std::nullopt;
      const auto rows = order.slice(0, begin, std::min(begin + options_.batch_size, samples.size()));
      // A last batch of one sample has no variance for BatchNorm.
      if (rows.size(0) == 1 && seen > 0) break;
      const auto labels = samples.labels.index_select(0, rows);
      const auto logits = model_->forward(samples.inputs.index_select(0, rows));
      const auto loss = torch::nn::functional::cross_entropy(logits, labels);
      ++progress_.step;
      progress_.loss = loss.item<double>();
      if (!std::isfinite(progress_.loss)) {
        diverge(epoch, "the training loss is " + io::number(progress_.loss).get<std::string>());
        return std::nullopt;
      }
      optimizer_.zero_grad();
      loss.backward();
      optimizer_.step();
      const auto size = static_cast<double>(rows.size(0));
      result.loss += progress_.loss * size;
      result.accuracy += correct(logits.detach(), labels);
      seen += rows.size(0);
      observer_.step(progress_);
    }
    if (!parameters_finite(*model_)) {
      diverge(epoch, "a parameter is not finite");
      return std::nullopt;
    }
    result.loss /= static_cast<double>(seen);
    result.accuracy /= static_cast<double>(seen);
    result.seconds = seconds_since(start);
    return result;
  }

  void record_epoch(std::int64_t epoch, const std::optional<Training>& training) {
    test_ = evaluate(model_, dataset_.test);
    if (!std::isfinite(test_.loss)) {
      diverge(epoch, "the test loss is " + io::number(test_.loss).get<std::string>());
      return;
    }
    progress_.test_accuracy = test_.accuracy;
    nlohmann::json members{{"epoch", epoch},
                           {"step", progress_.step},
                           {"test_loss", test_.loss},
                           {"test_accuracy", test_.accuracy},
                           {"learning_rate", learning_rate_}};
    if (training) {
      members["train_loss"] = training->loss;
      members["train_accuracy"] = training->accuracy;
      members["seconds"] = training->seconds;
    }
    metrics_.append(event("epoch", members));
    auto layers = event("layers", measure_layers(model_, dataset_.train));
    layers["epoch"] = epoch;
    metrics_.append(layers);
  }

  const CompareOptions& options_;
  const Arm& arm_;
  const data::Dataset& dataset_;
  io::JsonLines& metrics_;
  CompareObserver& observer_;
  const std::atomic<bool>& stop_;
  Progress progress_;
  models::MLP model_;
  double learning_rate_;
  torch::optim::SGD optimizer_;
  Evaluation test_;
  std::string divergence_;
};

nlohmann::ordered_json configuration(const CompareOptions& options, const data::Dataset& dataset) {
  auto arms = nlohmann::json::array();
  for (const auto& arm : options.arms) arms.push_back(arm.to_json(options.learning_rate));
  auto seeds = nlohmann::json::array();
  for (std::int64_t i = 0; i < options.seeds; ++i) seeds.push_back(options.first_seed + i);
  return {{"schema", 1},
          {"command", "compare"},
          {"arguments", options.arguments},
          {"preset", options.preset},
          {"data",
           {{"name", dataset.name},
            {"train", dataset.train.size()},
            {"test", dataset.test.size()},
            {"inputs", dataset.train.inputs.size(1)},
            {"classes", dataset.classes},
            {"crc32", dataset.checksum}}},
          {"model", {{"name", "mlp"}, {"depth", options.depth}, {"width", options.width}}},
          {"training",
           {{"epochs", options.epochs},
            {"batch_size", options.batch_size},
            {"optimizer", "sgd"},
            {"learning_rate", options.learning_rate},
            {"momentum", options.momentum},
            {"weight_decay", options.weight_decay}}},
          {"seeds", seeds},
          {"baseline", options.arms.front().name},
          {"arms", arms}};
}

}  // namespace

const std::vector<std::string>& default_arms() {
  static const std::vector<std::string> arms{"silu", "nsilu", "relu", "nrelu", "selu", "silu-gain", "silu-batchnorm"};
  return arms;
}

void validate(const CompareOptions& options) {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most) {
      throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be from " +
                                  std::to_string(least) + " to " + std::to_string(most));
    }
  };
  at_least("depth", options.depth, 1, 10000);
  at_least("width", options.width, 1, 100000);
  at_least("epochs", options.epochs, 1, 1000000);
  at_least("batch size", options.batch_size, 2, 1000000);
  at_least("seeds", options.seeds, 1, 10000);
  at_least("first seed", options.first_seed, 0, 1000000000);
  const auto number = [](const char* name, double value, bool good, const char* range) {
    if (!good)
      throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be " + range);
  };
  number("learning rate", options.learning_rate, options.learning_rate > 0 && std::isfinite(options.learning_rate),
         "positive and finite");
  number("momentum", options.momentum, options.momentum >= 0 && options.momentum < 1, "in [0, 1)");
  number("weight decay", options.weight_decay, options.weight_decay >= 0 && std::isfinite(options.weight_decay),
         "0 or more, and finite");
  if (options.arms.empty()) throw std::invalid_argument("there are no arms to compare");
}

bool compare(const CompareOptions& options, const data::Dataset& dataset, const std::filesystem::path& folder,
             CompareObserver& observer, const std::atomic<bool>& stop) {
  validate(options);
  const auto start = Clock::now();
  const auto planned = options.arms.size() * static_cast<std::size_t>(options.seeds);
  std::size_t done = 0;
  const auto write_status = [&](const char* state, const std::string& reason) {
    const nlohmann::ordered_json status{{"state", state},
                                        {"reason", reason},
                                        {"runs_planned", planned},
                                        {"runs_done", done},
                                        {"seconds", seconds_since(start)}};
    io::write_file(folder / "status.json", json_text(status));
  };
  io::write_file(folder / "config.json", json_text(configuration(options, dataset)));
  io::write_file(folder / "environment.json", json_text(environment()));
  write_status("running", "");
  const auto fail = [&](const std::string& reason) {
    try {
      write_status("partial", reason);
    } catch (const std::runtime_error&) {
      // The disk may be what failed. The folder then still says that it is running, which readers take for partial.
    }
  };
  try {
    io::JsonLines metrics(folder / "metrics.jsonl");
    const auto steps_per_epoch = (dataset.train.size() + options.batch_size - 1) / options.batch_size;
    // A seed's arms one after another, so that a partial run still holds whole pairs.
    for (std::int64_t i = 0; i < options.seeds; ++i) {
      for (const auto& arm : options.arms) {
        Run run(options, arm, dataset, metrics, observer, stop,
                {.run = done,
                 .runs = planned,
                 .arm = arm.name,
                 .seed = options.first_seed + i,
                 .epochs = options.epochs,
                 .steps = steps_per_epoch * options.epochs});
        if (!run()) {
          write_status("partial", "interrupted");
          return false;
        }
        ++done;
        write_status("running", "");
      }
    }
  } catch (const c10::Error& error) {
    const std::string reason = error.what_without_backtrace();
    fail(reason);
    throw std::runtime_error(reason);
  } catch (const std::exception& error) {
    fail(error.what());
    throw;
  }
  write_status("complete", "");
  return true;
}

}  // namespace anact::train
