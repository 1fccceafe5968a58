// What the tests of the networks share.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anact/nn.h"
#include "models/activation.h"

namespace anact::models::test {

// Threads that wait for each other on a busy machine would take most of the time.
class OneThread : public testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
inline const testing::Environment* const kOneThread = testing::AddGlobalTestEnvironment(new OneThread);

inline at::Generator generator(std::uint64_t seed) { return at::detail::createCPUGenerator(seed); }

inline ActivationFactory plain(const std::string& name) {
  return [name] { return torch::nn::AnyModule(PlainActivation(parse_activation(name))); };
}

inline ActivationFactory normalized(const nn::ANActOptions& options) {
  return [options] { return torch::nn::AnyModule(nn::ANAct(options)); };
}

inline std::map<std::string, torch::Tensor> parameters_of(const torch::nn::Module& model) {
  std::map<std::string, torch::Tensor> result;
  for (const auto& item : model.named_parameters()) result[item.key()] = item.value();
  return result;
}

inline std::int64_t parameter_count(const torch::nn::Module& model) {
  std::int64_t total = 0;
  for (const auto& parameter : model.parameters()) total += parameter.numel();
  return total;
}

// Images of any content.
inline torch::Tensor images(std::int64_t count, std::int64_t channels, std::int64_t side) {
  return at::randn({count, channels, side, side}, generator(5), torch::TensorOptions(torch::kFloat));
}

// SiLU that keeps every input it was given.
class RecorderImpl : public torch::nn::Cloneable<RecorderImpl> {
 public:
  void reset() override {}
  torch::Tensor forward(const torch::Tensor& input) {
    inputs.push_back(input.detach());
    return torch::silu(input);
  }

  std::vector<torch::Tensor> inputs;
};
TORCH_MODULE(Recorder);

// What passed through a network in one forward pass, first layer first.
struct Trace {
  torch::Tensor logits;
  std::vector<torch::Tensor> linear_outputs;  // of the main path
  std::vector<torch::Tensor> activations;     // of ReLU and SiLU

  // RecordFunction's callbacks are plain functions.
  static inline thread_local Trace* current = nullptr;
  static inline thread_local std::vector<torch::Tensor> weights;
};

template <class Model>
Trace traced(Model& model, const torch::Tensor& input) {
  struct Weight : at::ObserverContext {
    explicit Weight(torch::Tensor value) : value(std::move(value)) {}
    torch::Tensor value;  // none: of an activation
  };
  const auto begin = [](const at::RecordFunction& call) -> std::unique_ptr<at::ObserverContext> {
    const std::string_view name = call.name();
    if (name == "aten::relu" || name == "aten::silu") return std::make_unique<Weight>(torch::Tensor());
    // torch::nn::Linear in C++ is addmm, with the weight transposed.
    const bool linear = name == "aten::addmm";
    if (!linear && name != "aten::conv2d") return nullptr;
    const auto weight = call.inputs().at(linear ? 2 : 1).toTensor();
    const auto is = [&](const torch::Tensor& other) { return other.is_alias_of(weight); };
    return std::ranges::any_of(Trace::weights, is) ? std::make_unique<Weight>(weight) : nullptr;
  };
  const auto end = [](const at::RecordFunction& call, at::ObserverContext* context) {
    if (context == nullptr) return;
    const bool weighted = static_cast<const Weight*>(context)->value.defined();
    (weighted ? Trace::current->linear_outputs : Trace::current->activations)
        .push_back(call.outputs().at(0).toTensor());
  };
  Trace trace;
  const auto parameters = model->named_parameters();
  for (const auto& layer : model->main_path()) Trace::weights.push_back(parameters[layer + ".weight"]);
  Trace::current = &trace;
  const auto handle =
      at::addThreadLocalCallback(at::RecordFunctionCallback(begin, end).needsInputs(true).needsOutputs(true));
  trace.logits = model->forward(input);
  at::removeCallback(handle);
  Trace::weights.clear();
  return trace;
}

// A factory, and what it made.
struct Recorders {
  std::shared_ptr<std::vector<Recorder>> made = std::make_shared<std::vector<Recorder>>();

  [[nodiscard]] ActivationFactory factory() const {
    return [made = made] {
      made->push_back(Recorder());
      return torch::nn::AnyModule(made->back());
    };
  }
};

// Runs one image batch through `model`, in both layouts. Each of the `places` activations must be a module of its own
// that is called once, and one that sees channels_last when the images are in it.
template <class Model>
void expect_one_module_a_place_that_keeps_channels_last(Model& model, const Recorders& recorders,
                                                        const torch::Tensor& input, std::size_t places) {
  ASSERT_EQ(recorders.made->size(), places);
  model->eval();
  const auto contiguous = model->forward(input);
  const auto channels_last = model->forward(input.contiguous(torch::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(contiguous.allclose(channels_last, 1e-4, 1e-5));
  for (std::size_t i = 0; i < places; ++i) {
    SCOPED_TRACE("place " + std::to_string(i));
    const auto& seen = (*recorders.made)[i]->inputs;
    ASSERT_EQ(seen.size(), 2u);
    const auto n = seen[1].sizes();
    EXPECT_EQ(seen[0].strides(), (std::vector<std::int64_t>{n[1] * n[2] * n[3], n[2] * n[3], n[3], 1}));
    EXPECT_EQ(seen[1].strides(), (std::vector<std::int64_t>{n[1] * n[2] * n[3], 1, n[3] * n[1], n[1]}));
  }
}

// After a backward pass no parameter is without a gradient, nor with one of zeros.
template <class Model>
void expect_gradients_everywhere(Model& model, const torch::Tensor& input) {
  model->train();
  model->zero_grad();
  const auto logits = model->forward(input);
  const auto weights = at::randn(logits.sizes(), generator(8), torch::TensorOptions(torch::kFloat));
  (logits * weights).sum().backward();
  for (const auto& item : model->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    const double largest = item.value().grad().abs().max().template item<double>();
    EXPECT_TRUE(largest > 0 && std::isfinite(largest)) << item.key() << ": " << largest;
  }
}

// The message of the std::invalid_argument that `make` throws.
inline std::string refusal(const std::function<void()>& make) {
  try {
    make();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

// The sample's standard deviation lies within five standard errors, sd / sqrt(2 n), of the formula, and its mean within
// five of 0. A right implementation fails by chance once in 10^6; He's for LeCun's would be hundreds of errors off.
inline void expect_normal(const torch::Tensor& weight, double deviation) {
  const auto values = weight.detach().to(torch::kDouble);
  const auto n = static_cast<double>(values.numel());
  const double mean = values.mean().item<double>();
  const double sample = std::sqrt(values.square().mean().item<double>());
  EXPECT_NEAR(mean, 0, 5 * deviation / std::sqrt(n));
  EXPECT_NEAR(sample, deviation, 5 * deviation / std::sqrt(2 * n));
  // Normal, not uniform, of that deviation: 3 for the fourth moment, with the standard error sqrt(96 / n).
  EXPECT_NEAR(values.pow(4).mean().item<double>() / std::pow(sample, 4), 3, 5 * std::sqrt(96 / n));
}

}  // namespace anact::models::test
