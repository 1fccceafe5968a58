// Training against a second implementation, written here from the formulas: plain tensors in double precision,
// autograd, and SGD by hand. It calls nothing of the program's but train() itself.

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "train/toy.h"

namespace anact::train {
namespace {

using namespace test;
using torch::Tensor;

enum class Norm { none, anact, batch };

struct Recipe {
  std::string arm;
  std::string activation;
  Norm norm = Norm::none;
  double gain = 1;     // n times the variance of a weight with n inputs
  bool paper = false;  // the paper's map, with weights that are normally distributed
  bool previous = true;
  bool centre = true;
  double momentum = 0.01;

  friend void PrintTo(const Recipe& recipe, std::ostream* stream) { *stream << recipe.arm; }
};

// SplitMix64 of the seed and the purpose: the weights are purpose 0, the order of epoch e is purpose 1 + e.
at::Generator stream(std::uint64_t seed, std::uint64_t purpose) {
  std::uint64_t z = seed * 0x9e3779b97f4a7c15u + purpose + 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return at::detail::createCPUGenerator(z ^ z >> 31);
}

struct Activated {
  Tensor value, slope;
};

Activated activate(const std::string& activation, const Tensor& x) {
  if (activation == "relu") return {x.clamp_min(0), x.gt(0).to(torch::kDouble)};
  const auto sigmoid = 1 / (1 + (-x).exp());
  return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
}

struct Statistics {
  double mean = 0, square = 0, variance = 0, slope_square = 0;
};

Statistics measure(const std::string& activation, const Tensor& x) {
  const auto [value, slope] = activate(activation, x.detach());
  return {.mean = value.mean().item<double>(),
          .square = value.square().mean().item<double>(),
          .variance = (x.detach() - x.detach().mean()).square().mean().item<double>(),
          .slope_square = slope.square().mean().item<double>()};
}

// Under N(0, 1), by the midpoint rule over [-10, 10].
Statistics measure_normal(const std::string& activation) {
  constexpr int kPoints = 200'000;
  const auto x = (at::arange(kPoints, torch::kDouble) + 0.5) * (20.0 / kPoints) - 10;
  const auto weight = (-x.square() / 2).exp() * (20.0 / kPoints) / std::sqrt(2 * M_PI);
  const auto [value, slope] = activate(activation, x);
  return {.mean = (value * weight).sum().item<double>(),
          .square = (value.square() * weight).sum().item<double>(),
          .variance = 1,
          .slope_square = (slope.square() * weight).sum().item<double>()};
}

double lambda_of(const Statistics& statistics, bool paper) {
  if (paper) return std::sqrt((statistics.variance / statistics.square + 1 / statistics.slope_square) / 2);
  return std::sqrt(std::pow(statistics.variance, -0.25) / statistics.slope_square);
}

double shift_of(const Statistics& statistics, bool paper) {
  if (paper) return 0;
  const double spread = statistics.square - statistics.mean * statistics.mean;
  const double rest =
      std::pow(statistics.variance, 0.75) * (1 - spread / (statistics.variance * statistics.slope_square));
  return -std::sqrt(std::max(0.0, rest));
}

// Rows of mean square 1 / inputs, orthogonal where they can be; by Gram and Schmidt, in double.
Tensor orthogonal(const Tensor& draws) {
  const bool wide = draws.size(0) < draws.size(1);
  const auto vectors = wide ? draws : draws.t();
  std::vector<Tensor> basis;
  for (std::int64_t i = 0; i < vectors.size(0); ++i) {
    auto vector = vectors[i].clone();
    for (const auto& earlier : basis) vector -= earlier * earlier.dot(vector);
    basis.push_back(vector / vector.norm());
  }
  const auto rows = at::stack(basis);
  return wide ? rows : rows.t() * std::sqrt(static_cast<double>(draws.size(0)) / static_cast<double>(draws.size(1)));
}

struct Layer {
  Tensor weight, bias;
  Tensor scale, shift, mean, variance;  // BatchNorm
  Tensor alpha;                         // ANAct
  Statistics statistics;
  int batches = 0;
};

struct Traces {
  std::vector<Tensor> linear, activation;
};

class Network {
 public:
  Network(const Recipe& recipe, const Config& options, const data::Dataset& dataset, std::uint64_t seed)
      : recipe_(recipe) {
    auto generator = stream(seed, 0);
    std::int64_t inputs = dataset.shape.values();
    for (std::int64_t i = 0; i <= options.depth; ++i) {
      const bool last = i == options.depth;
      const std::int64_t outputs = last ? dataset.classes() : options.width;
      const auto draws = at::randn({outputs, inputs}, generator, torch::TensorOptions(torch::kFloat));
      const double gain = last ? 1 : recipe.gain;
      const bool normal = last || recipe.norm != Norm::anact || recipe.paper;
      Layer layer;
      layer.weight = parameter(normal ? draws.to(torch::kDouble) * std::sqrt(gain / static_cast<double>(inputs))
                                      : orthogonal(draws.to(torch::kDouble)));
      layer.bias = parameter(at::zeros(outputs, torch::kDouble));
      if (!last && recipe.norm == Norm::batch) {
        layer.scale = parameter(at::ones(outputs, torch::kDouble));
        layer.shift = parameter(at::zeros(outputs, torch::kDouble));
        layer.mean = at::zeros(outputs, torch::kDouble);
        layer.variance = at::ones(outputs, torch::kDouble);
      }
      if (!last && recipe.norm == Norm::anact) {
        layer.alpha = parameter(at::zeros({}, torch::kDouble));
        layer.statistics = measure_normal(recipe.activation);
      }
      layers_.push_back(layer);
      inputs = outputs;
    }
  }

  // With `update`, the batch enters the running statistics.
  Tensor forward(Tensor x, bool training, bool update, Traces* traces = nullptr) {
    for (auto& layer : layers_) {
      auto z = x.matmul(layer.weight.t()) + layer.bias;
      if (&layer == &layers_.back()) return z;
      if (traces != nullptr) traces->linear.push_back(z);
      if (recipe_.norm == Norm::batch) z = batch_norm(layer, z, training, update);
      x = recipe_.norm == Norm::anact ? anact(layer, z, training, update) : activate(recipe_.activation, z).value;
      if (traces != nullptr) traces->activation.push_back(x);
    }
    return x;
  }

  static Tensor loss(const Tensor& logits, const Tensor& labels) {
    return (logits.logsumexp(1) - logits.gather(1, labels.unsqueeze(1)).squeeze(1)).mean();
  }

  // One step of SGD with momentum and weight decay.
  void step(const Tensor& loss, double rate, double momentum, double decay) {
    const auto gradients = torch::autograd::grad({loss}, parameters_);
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const auto gradient = gradients[i] + decay * parameters_[i];
      velocities_[i] = velocities_[i].defined() ? momentum * velocities_[i] + gradient : gradient;
      parameters_[i].sub_(rate * velocities_[i]);
    }
  }

  [[nodiscard]] std::vector<double> lambdas() const {
    std::vector<double> result;
    if (recipe_.norm != Norm::anact) return result;
    for (std::size_t i = 0; i + 1 < layers_.size(); ++i)
      result.push_back(lambda_of(layers_[i].statistics, recipe_.paper));
    return result;
  }

 private:
  Tensor parameter(const Tensor& value) {
    parameters_.push_back(value.clone().requires_grad_());
    velocities_.emplace_back();
    return parameters_.back();
  }

  static Tensor batch_norm(Layer& layer, const Tensor& z, bool training, bool update) {
    if (!training) return (z - layer.mean) / (layer.variance + 1e-5).sqrt() * layer.scale + layer.shift;
    const auto mean = z.mean(0), variance = (z - mean).square().mean(0);
    if (update) {
      const double n = static_cast<double>(z.size(0));
      layer.mean = 0.9 * layer.mean + 0.1 * mean.detach();
      layer.variance = 0.9 * layer.variance + 0.1 * variance.detach() * (n / (n - 1));
    }
    return (z - mean) / (variance + 1e-5).sqrt() * layer.scale + layer.shift;
  }

  Tensor anact(Layer& layer, const Tensor& z, bool training, bool update) const {
    auto fresh = layer.statistics;
    if (training) {
      const auto batch = measure(recipe_.activation, z);
      const double weight = std::max(recipe_.momentum, 1.0 / (layer.batches + 1));
      fresh.mean += weight * (batch.mean - fresh.mean);
      fresh.square += weight * (batch.square - fresh.square);
      fresh.variance += weight * (batch.variance - fresh.variance);
      fresh.slope_square += weight * (batch.slope_square - fresh.slope_square);
    }
    const auto used = recipe_.previous && layer.batches > 0 ? layer.statistics : fresh;
    if (update) {
      layer.statistics = fresh;
      ++layer.batches;
    }
    const double centre = recipe_.centre ? used.mean : 0;
    return (lambda_of(used, recipe_.paper) + 0.3 * layer.alpha.tanh()) *
               (activate(recipe_.activation, z).value - centre) +
           shift_of(used, recipe_.paper);
  }

  const Recipe& recipe_;
  std::vector<Layer> layers_;
  std::vector<Tensor> parameters_, velocities_;
};

void expect_close(const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], tolerance * std::abs(expected[i])) << "number " << i;
  }
}

class Reference : public testing::TestWithParam<Recipe> {};

// Single against double precision over 18 steps: the losses agree to 1e-5. Measuring the layers, which the program does
// in training mode before each epoch, would show at once if it left a trace in the running statistics.
TEST_P(Reference, GivesTheSameTraining) {
  const auto& recipe = GetParam();
  const std::uint64_t seed = 7;
  const auto dataset = toy_data();
  auto options = toy_config({recipe.arm});
  options.epochs = 3;
  options.first_seed = static_cast<std::int64_t>(seed);
  options.weight_decay = 0.01;
  options.decay_all = true;
  const TemporaryFolder folder;
  Recorder recorder;
  const std::atomic<bool> stop = false;
  ASSERT_TRUE(train(options, {}, dataset, folder.path(), recorder, stop));
  std::vector<nlohmann::json> epochs, layers;
  for (const auto& event : metrics_of(folder.path())) {
    if (event.at("event") == "epoch") epochs.push_back(event);
    if (event.at("event") == "layers") layers.push_back(event);
  }
  ASSERT_EQ(epochs.size(), 4u);
  ASSERT_EQ(layers.size(), 4u);

  const auto inputs = inputs_of(dataset, dataset.train).to(torch::kDouble);
  const auto test = inputs_of(dataset, dataset.test).to(torch::kDouble);
  const auto labels = labels_of(dataset.train), test_labels = labels_of(dataset.test);
  Network network(recipe, options, dataset, seed);
  const auto compare_epoch = [&](std::size_t epoch) {
    SCOPED_TRACE("epoch " + std::to_string(epoch));
    const auto test_loss = Network::loss(network.forward(test, false, false), test_labels).item<double>();
    EXPECT_NEAR(epochs[epoch].at("test_loss").get<double>(), test_loss, 1e-5 * test_loss);
    if (recipe.norm == Norm::anact) {
      expect_close(layers[epoch].at("lambda").get<std::vector<double>>(), network.lambdas(), 1e-5);
    }
    Traces traces;
    const auto loss = Network::loss(network.forward(inputs, true, false, &traces), labels);
    std::vector<double> moments, variances;
    for (const auto& output : traces.activation) moments.push_back(output.square().mean().item<double>());
    for (const auto& gradient : torch::autograd::grad({loss}, traces.linear)) {
      variances.push_back((gradient - gradient.mean()).square().mean().item<double>());
    }
    expect_close(layers[epoch].at("activation_second_moment").get<std::vector<double>>(), moments, 1e-4);
    expect_close(layers[epoch].at("gradient_variance").get<std::vector<double>>(), variances, 1e-4);
  };

  compare_epoch(0);
  std::vector<double> losses;
  for (std::size_t epoch = 1; epoch <= 3; ++epoch) {
    const auto order = at::randperm(43, stream(seed, 1 + epoch), torch::TensorOptions(torch::kLong));
    for (std::int64_t begin = 0; begin < 43; begin += 8) {
      const auto rows = order.slice(0, begin, std::min<std::int64_t>(begin + 8, 43));
      const auto logits = network.forward(inputs.index_select(0, rows), true, true);
      const auto loss = Network::loss(logits, labels.index_select(0, rows));
      losses.push_back(loss.item<double>());
      network.step(loss, options.learning_rate, options.momentum, options.weight_decay);
    }
    compare_epoch(epoch);
  }
  expect_close(recorder.losses.at(recipe.arm + " 7"), losses, 1e-5);
  // The losses move: agreement is not that of networks that stand still.
  EXPECT_GT(std::abs(losses.back() - losses.front()), 1e-2);
}

INSTANTIATE_TEST_SUITE_P(
    Arms, Reference,
    testing::Values(Recipe{.arm = "silu", .activation = "silu", .gain = 2},
                    Recipe{.arm = "relu:init=lecun", .activation = "relu"},
                    Recipe{.arm = "silu-batchnorm", .activation = "silu", .norm = Norm::batch, .gain = 2},
                    Recipe{.arm = "nsilu", .activation = "silu", .norm = Norm::anact},
                    Recipe{.arm = "nrelu", .activation = "relu", .norm = Norm::anact},
                    Recipe{.arm = "nsilu:solution=compromise:target=input:momentum=0.1:init=lecun",
                           .activation = "silu",
                           .norm = Norm::anact,
                           .paper = true,
                           .momentum = 0.1},
                    Recipe{.arm = "nsilu:solution=compromise:target=input:statistics=running:centre=off:momentum=0.4:"
                                  "init=he",
                           .activation = "silu",
                           .norm = Norm::anact,
                           .gain = 2,
                           .paper = true,
                           .previous = false,
                           .centre = false,
                           .momentum = 0.4}),
    [](const auto& info) {
      std::string name;
      for (const char c : info.param.arm.substr(0, info.param.arm.find(':'))) name += c == '-' ? '_' : c;
      return name + std::to_string(info.index);
    });

}  // namespace
}  // namespace anact::train
