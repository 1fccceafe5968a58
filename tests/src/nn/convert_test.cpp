// convert_activations on containers, members, and what it cannot reach.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>
#include <vector>

#include "anact/anact.h"

namespace anact::nn {
namespace {

using Paths = std::vector<std::string>;

struct BlockImpl : torch::nn::Module {
  BlockImpl() {
    body = register_module(
        "body", torch::nn::Sequential(torch::nn::Linear(8, 8), torch::nn::ELU(torch::nn::ELUOptions().alpha(0.5))));
    act = register_module("act", torch::nn::ReLU());
  }
  torch::Tensor forward(const torch::Tensor& x) { return act->forward(x + body->forward(x)); }
  torch::nn::Sequential body{nullptr};
  torch::nn::ReLU act{nullptr};
};
TORCH_MODULE(Block);

// Calls the second of its two activations only.
struct DerivedImpl : torch::nn::SequentialImpl {
  DerivedImpl() {
    act = register_module("act", torch::nn::Tanh());
    push_back("called", torch::nn::ReLU());
  }
  torch::nn::Tanh act{nullptr};
};

TEST(ConvertActivations, ReplacesWhatAClassDerivedFromSequentialCalls) {
  DerivedImpl net;
  const auto result = convert_activations(net);
  EXPECT_EQ(result.replaced, Paths{"called"});
  EXPECT_EQ(result.unreached, Paths{"act"});
  const auto x = torch::randn({5});
  EXPECT_TRUE(torch::equal(net.forward(x), NReLU()->forward(x)));
}

TEST(ConvertActivations, ReplacesInSequentialsAndNamesWhatItCannotReach) {
  torch::nn::Sequential net;
  net->push_back("in", torch::nn::Linear(4, 8));
  net->push_back("act", torch::nn::GELU(torch::nn::GELUOptions().approximate("tanh")));
  net->push_back("block", Block());
  net->push_back("out", torch::nn::LeakyReLU(torch::nn::LeakyReLUOptions().negative_slope(0.3)));
  const auto result = convert_activations(*net, ANActOptions().momentum(0.5));
  EXPECT_EQ(result.replaced, (Paths{"act", "block.body.1", "out"}));
  EXPECT_EQ(result.unreached, Paths{"block.act"});

  const auto named = net->named_modules();
  ASSERT_NE(named["act"]->as<ANAct>(), nullptr);
  EXPECT_EQ(named["act"]->as<ANAct>()->options.activation(), parse_activation("gelu(approximate=tanh)"));
  EXPECT_EQ(named["act"]->as<ANAct>()->options.momentum(), 0.5);
  EXPECT_EQ(named["block.body.1"]->as<ANAct>()->options.activation(), parse_activation("elu(alpha=0.5)"));
  EXPECT_EQ(named["out"]->as<ANAct>()->options.activation(), parse_activation("leaky_relu(0.3)"));

  // The new modules are the ones that forward calls, and their parameters are the network's.
  net->forward(torch::randn({16, 4})).sum().backward();
  for (const char* path : {"act", "block.body.1", "out"}) {
    EXPECT_EQ(named[path]->as<ANAct>()->num_batches_tracked.item<std::int64_t>(), 1) << path;
    EXPECT_TRUE(net->named_parameters()[std::string(path) + ".alpha"].grad().defined()) << path;
  }
}

TEST(ConvertActivations, EvaluatedNetworksStayEvaluatedAndMatchTheFormula) {
  torch::nn::Sequential net{torch::nn::ReLU()};
  net->eval();
  convert_activations(*net);
  const auto x = torch::randn({50});
  const auto expected = std::sqrt(2.0) * (torch::relu(x) - 1 / std::sqrt(2 * M_PI)) - 1 / std::sqrt(M_PI);
  EXPECT_LE((net->forward(x) - expected).abs().max().item<double>(), 1e-6);
  EXPECT_EQ(net->named_buffers()["0.num_batches_tracked"].item<std::int64_t>(), 0);
}

TEST(ConvertActivations, ASharedActivationBecomesOneModuleAPlace) {
  const torch::nn::SiLU shared;
  torch::nn::Sequential net(torch::nn::Linear(4, 4), shared, torch::nn::Linear(4, 4), shared);
  EXPECT_EQ(convert_activations(*net).replaced, (Paths{"1", "3"}));
  EXPECT_NE(net[1].get(), net[3].get());
}

TEST(ConvertActivations, KnowsEveryActivationOfTorchThatTheCatalogueHas) {
  torch::nn::Sequential net{torch::nn::ReLU(),       torch::nn::ReLU6(),      torch::nn::LeakyReLU(),
                            torch::nn::ELU(),        torch::nn::SELU(),       torch::nn::CELU(),
                            torch::nn::GELU(),       torch::nn::SiLU(),       torch::nn::Mish(),
                            torch::nn::Softplus(),   torch::nn::Softsign(),   torch::nn::Tanh(),
                            torch::nn::Sigmoid(),    torch::nn::LogSigmoid(), torch::nn::Hardtanh(),
                            torch::nn::Tanhshrink(), torch::nn::Softshrink()};
  // Each must compute the plain activation's values, scaled and shifted.
  const auto x = torch::linspace(-3, 3, 61);
  std::vector<torch::Tensor> plain;
  for (auto& module : *net) plain.push_back(module.forward(x));
  net->eval();
  EXPECT_EQ(convert_activations(*net).replaced.size(), plain.size());
  std::size_t index = 0;
  for (const auto& child : net->children()) {
    const auto* act = child->as<ANAct>();
    ASSERT_NE(act, nullptr) << index;
    const double scale = act->factor();
    const auto shift = child->as<ANAct>()->forward(x) - scale * (plain[index] - act->output_mean);
    EXPECT_LE((shift - shift.mean()).abs().max().item<double>(), 1e-5) << index;
    ++index;
  }
}

TEST(ConvertActivations, FindsNothingWhereThereIsNothing) {
  torch::nn::Linear linear(2, 2);
  const auto result = convert_activations(*linear);
  EXPECT_TRUE(result.replaced.empty());
  EXPECT_TRUE(result.unreached.empty());
}

}  // namespace
}  // namespace anact::nn
