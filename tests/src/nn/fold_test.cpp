// fold against the evaluation of the network before it, and against the map written out.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "anact/anact.h"

namespace anact::nn {
namespace {

using torch::nn::Conv1d;
using torch::nn::Conv1dOptions;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::Conv3d;
using torch::nn::Conv3dOptions;
using torch::nn::Linear;
using torch::nn::LinearOptions;
using torch::nn::Sequential;

using Pairs = std::vector<std::pair<std::string, std::string>>;
using Paths = std::vector<std::string>;

// The module as after some training: statistics of its inputs, and an alpha each.
template <class Net>
void settle(Net& net, const torch::Tensor& x) {
  net->train();
  for (int batch = 0; batch < 3; ++batch) net->forward(x * (1 + 0.3 * batch) + 0.2);
  const torch::NoGradGuard no_grad;
  double alpha = 0.7;
  for (const auto& module : net->modules()) {
    auto* act = module->template as<ANAct>();
    if (act != nullptr && act->options.learnable()) act->alpha.fill_(std::exchange(alpha, -0.8 * alpha));
  }
  net->eval();
}

double relative_error(const torch::Tensor& actual, const torch::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  EXPECT_EQ(actual.scalar_type(), expected.scalar_type());
  const auto scale = expected.to(torch::kDouble).abs().max();
  return ((actual.to(torch::kDouble) - expected.to(torch::kDouble)).abs().max() / scale).item<double>();
}

std::int64_t count_anacts(const torch::nn::Module& net) {
  std::int64_t count = 0;
  for (const auto& module : net.modules(/*include_self=*/false)) count += module->as<ANAct>() != nullptr ? 1 : 0;
  return count;
}

// Folds what `make` returns, in float32 and in double, and compares the outputs for an input of this shape. Returns
// what the last fold said, which must be what the first said.
Folding check(const std::function<Sequential()>& make, at::IntArrayRef shape) {
  Folding result;
  for (const auto& [type, bound] : {std::pair(torch::kFloat, 1e-6), std::pair(torch::kDouble, 1e-12)}) {
    torch::manual_seed(1);
    auto net = make();
    net->to(type);
    const auto x = torch::randn(shape, type);
    settle(net, x);
    const auto expected = net->forward(x);
    const auto last = std::exchange(result, fold(*net));
    if (type == torch::kDouble) {
      EXPECT_EQ(result.merged, last.merged);
      EXPECT_EQ(result.kept, last.kept);
      EXPECT_EQ(result.unreached, last.unreached);
    }
    EXPECT_EQ(count_anacts(*net), 0);
    EXPECT_LE(relative_error(net->forward(x), expected), bound);
  }
  return result;
}

TEST(Fold, MultipliesTheWeightsAndMovesTheBias) {
  Sequential net(ANAct("relu"), Linear(3, 2));
  net->eval();
  auto* act = net[0]->as<ANAct>();
  auto* linear = net[1]->as<Linear>();
  {
    const torch::NoGradGuard no_grad;
    act->alpha.fill_(0.5);
  }
  const auto weight = linear->weight.detach().clone();
  const auto bias = linear->bias.detach().clone();
  // ReLU under N(0, 1): lambda = sqrt 2, mu = 1/sqrt(2 pi), and lambda^2 Var f = 1 - 1/pi.
  const double scale = std::sqrt(2.0) + 0.3 * std::tanh(0.5);
  const double offset = -scale / std::sqrt(2 * M_PI) - 1 / std::sqrt(M_PI);
  const auto result = fold(*net);
  EXPECT_EQ(result.merged, (Pairs{{"0", "1"}}));
  EXPECT_TRUE(result.kept.empty());
  EXPECT_TRUE(result.unreached.empty());
  ASSERT_EQ(net->size(), 2U);
  EXPECT_NE(net[0]->as<torch::nn::ReLU>(), nullptr);
  EXPECT_LE((linear->weight - scale * weight).abs().max().item<double>(), 1e-6);
  EXPECT_LE((linear->bias - (bias + offset * weight.sum(1))).abs().max().item<double>(), 1e-6);
}

TEST(Fold, MlpOfEveryActivation) {
  std::vector<Activation> activations;
  for (const auto& info : activation_catalogue()) activations.push_back(make_activation(info.kind));
  for (const char* text : {"leaky_relu(0.3)", "elu(alpha=0.5)", "celu(alpha=2)", "softplus(beta=2, threshold=3)",
                           "hardtanh(min_val=-0.5, max_val=2)", "softshrink(lambd=0.2)"}) {
    activations.push_back(parse_activation(text));
  }
  for (const auto& activation : activations) {
    SCOPED_TRACE(activation.to_string());
    // Merged, and kept as there is no layer behind.
    const auto result =
        check([&] { return Sequential(Linear(5, 17), ANAct(activation), Linear(17, 3), ANAct(activation)); }, {33, 5});
    EXPECT_EQ(result.merged, (Pairs{{"1", "2"}}));
    EXPECT_EQ(result.kept, (Pairs{{"3", "no layer follows in the same Sequential"}}));
  }
}

TEST(Fold, ActivationsBecomeThoseOfTorch) {
  // Those that torch::nn has are seen by convert_activations, which gives the activation back, parameters included.
  for (const auto& info : activation_catalogue()) {
    auto activation = make_activation(info.kind);
    for (std::size_t i = 0; i < info.parameters.size(); ++i) activation.parameters[i] += 0.25;
    Sequential net{ANAct(activation)};
    net->eval();
    fold(*net);
    const auto first = net[0];
    if (info.kind == ActivationKind::identity) {
      EXPECT_NE(first->as<torch::nn::Identity>(), nullptr);
    } else if (info.kind == ActivationKind::hardswish || info.kind == ActivationKind::hardsigmoid ||
               info.kind == ActivationKind::relu2) {
      EXPECT_NE(first->as<torch::nn::Functional>(), nullptr) << info.name;
    } else {
      convert_activations(*net);
      ASSERT_NE(net[0]->as<ANAct>(), nullptr) << info.name;
      EXPECT_EQ(net[0]->as<ANAct>()->options.activation(), activation) << info.name;
    }
  }
}

TEST(Fold, EverySolutionTargetGainAndCentre) {
  for (const auto solution : all_solutions()) {
    for (const auto target : {Target::input, Target::unit}) {
      for (const auto gain : {Gain::activation, Gain::output}) {
        for (const bool centre : {true, false}) {
          if (solution == Solution::exact && !centre) continue;
          SCOPED_TRACE(std::string(to_string(solution)) + (centre ? " centred" : ""));
          const auto options = ANActOptions("silu").solution(solution).target(target).gain(gain).centre(centre);
          const auto result = check(
              [&] {
                return Sequential(Linear(4, 9), ANAct(options), Linear(LinearOptions(9, 9).bias(false)),
                                  ANAct(options));
              },
              {31, 4});
          EXPECT_EQ(result.merged, (Pairs{{"1", "2"}}));
        }
      }
    }
  }
}

TEST(Fold, ConvolutionsWithoutPadding) {
  const auto result = check(
      [] {
        return Sequential(Conv2d(Conv2dOptions(3, 8, 3)), ANAct("gelu"), Conv2d(Conv2dOptions(8, 6, 3).stride(2)),
                          ANAct("silu"), Conv2d(Conv2dOptions(6, 5, 1).padding(torch::kSame)), ANAct("mish"),
                          Conv2d(Conv2dOptions(5, 4, 2).padding(torch::kValid).dilation(2)));
      },
      {2, 3, 13, 11});
  EXPECT_EQ(result.merged, (Pairs{{"1", "2"}, {"3", "4"}, {"5", "6"}}));
}

TEST(Fold, ConvolutionsOfOneAndThreeDimensions) {
  EXPECT_EQ(check([] { return Sequential(ANAct("elu"), Conv1d(Conv1dOptions(4, 3, 3))); }, {2, 4, 9}).merged,
            (Pairs{{"0", "1"}}));
  EXPECT_EQ(check([] { return Sequential(ANAct("elu"), Conv3d(Conv3dOptions(2, 3, 2))); }, {2, 2, 5, 4, 3}).merged,
            (Pairs{{"0", "1"}}));
}

TEST(Fold, GroupsAndLayersWithoutBias) {
  const auto make = [] {
    return Sequential(ANAct("relu"), Conv2d(Conv2dOptions(6, 8, 3).groups(2).bias(false)), ANAct("relu"),
                      Conv2d(Conv2dOptions(8, 8, 3).groups(8)), torch::nn::Flatten(), ANAct("silu"),
                      Linear(LinearOptions(8 * 3 * 2, 5).bias(false)));
  };
  EXPECT_EQ(check(make, {3, 6, 7, 6}).merged, (Pairs{{"0", "1"}, {"2", "3"}, {"5", "6"}}));

  auto net = make();
  net->eval();
  fold(*net);
  const auto parameters = net->named_parameters();
  for (const char* name : {"1.bias", "6.bias"}) ASSERT_NE(parameters.find(name), nullptr) << name;
  EXPECT_TRUE(parameters["6.bias"].is_same(net[6]->as<Linear>()->bias));
  EXPECT_TRUE(net[1]->as<Conv2d>()->options.bias());
  // A copy is rebuilt from the options.
  const auto x = torch::randn({2, 6, 7, 6});
  const auto copy = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(net->clone());
  EXPECT_TRUE(torch::equal(copy->forward(x), net->forward(x)));
}

TEST(Fold, NoOffsetNeedsNoBias) {
  Sequential net(ANAct(ANActOptions("relu").solution(Solution::compromise).centre(false)),
                 Linear(LinearOptions(4, 4).bias(false)));
  net->eval();
  EXPECT_EQ(fold(*net).merged, (Pairs{{"0", "1"}}));
  EXPECT_FALSE(net[1]->as<Linear>()->bias.defined());
}

// Half of the work is done when the second layer would be scaled.
TEST(Fold, WeightsThatCannotBeScaledAreKeptAndNamed) {
  auto odd = Linear(4, 4);
  odd->weight = torch::ones({4, 4}, torch::kChar);
  Sequential net(ANAct(ANActOptions("silu")), Linear(4, 4), ANAct(ANActOptions("silu")), odd);
  net->eval();
  const auto folding = fold(*net);
  EXPECT_EQ(folding.merged, (Pairs{{"0", "1"}}));
  ASSERT_EQ(folding.kept.size(), 1U);
  EXPECT_EQ(folding.kept[0].first, "2");
  EXPECT_EQ(folding.kept[0].second, "\"3\" has weights that cannot be scaled, of type CPUCharType");
  EXPECT_TRUE(torch::equal(odd->weight, torch::ones({4, 4}, torch::kChar)));
}

TEST(Fold, ZeroPaddingIsExactOnlyWithoutAnOffset) {
  using Options = std::pair<std::string, Conv2dOptions>;
  const std::vector<Options> padded{{"number", Conv2dOptions(4, 5, 3).padding(1)},
                                    {"one side", Conv2dOptions(4, 5, 3).padding({0, 1})},
                                    {"same", Conv2dOptions(4, 5, 3).padding(torch::kSame)}};
  for (const auto& [name, options] : padded) {
    SCOPED_TRACE(name);
    const auto make = [&options = options](bool centre) {
      return [&options, centre] {
        return Sequential(ANAct(ANActOptions("silu").solution(Solution::forward).centre(centre)), Conv2d(options));
      };
    };
    const auto kept = check(make(true), {2, 4, 6, 5});
    EXPECT_TRUE(kept.merged.empty());
    EXPECT_EQ(kept.kept, (Pairs{{"0", "\"1\" pads with zeros, but the map has an offset"}}));
    EXPECT_EQ(check(make(false), {2, 4, 6, 5}).merged, (Pairs{{"0", "1"}}));
  }
}

TEST(Fold, OtherPaddingIsExact) {
  const std::vector<Conv2dOptions> padded{Conv2dOptions(4, 5, 3).padding(1).padding_mode(torch::kReflect),
                                          Conv2dOptions(4, 5, 3).padding(2).padding_mode(torch::kReplicate),
                                          Conv2dOptions(4, 5, 3).padding({0, 1}).padding_mode(torch::kCircular),
                                          Conv2dOptions(4, 5, 3).padding(torch::kSame).padding_mode(torch::kReflect)};
  for (const auto& options : padded) {
    EXPECT_EQ(check([&] { return Sequential(ANAct("silu"), Conv2d(options)); }, {2, 4, 6, 5}).merged,
              (Pairs{{"0", "1"}}));
  }
}

TEST(Fold, ReachesOverWhatOnlyMovesElements) {
  const auto result = check(
      [] {
        return Sequential(Conv2d(Conv2dOptions(2, 4, 3)), ANAct("tanh"), torch::nn::Dropout2d(0.5),
                          torch::nn::Identity(),
                          torch::nn::MaxPool2d(torch::nn::MaxPool2dOptions(3).stride(2).padding(1).ceil_mode(true)),
                          Conv2d(Conv2dOptions(4, 4, 2)), ANAct("hardswish"),
                          torch::nn::AdaptiveMaxPool2d(torch::nn::AdaptiveMaxPool2dOptions(2)), torch::nn::Flatten(),
                          torch::nn::Dropout(0.5), Linear(16, 7));
      },
      {2, 2, 12, 9});
  EXPECT_EQ(result.merged, (Pairs{{"1", "5"}, {"6", "10"}}));
  EXPECT_TRUE(result.kept.empty());
}

// Factors as of a layer whose gains are large: lambda = 0.1, scale = 0.1 + 0.3 tanh(-5) < 0.
void make_scale_negative(ANAct& act) {
  const torch::NoGradGuard no_grad;
  act->output_square.fill_(100);
  act->backward_gain.fill_(100);
  act->alpha.fill_(-5);
}

TEST(Fold, ANegativeScaleDoesNotPassAMaximum) {
  for (const bool pooled : {true, false}) {
    ANAct act(ANActOptions("silu").bounds({0.1, 10}));
    make_scale_negative(act);
    Sequential net(act);
    if (pooled) net->push_back(torch::nn::MaxPool1d(2));
    net->push_back(Linear(pooled ? 4 : 8, 3));
    net->eval();
    const auto x = torch::randn({5, 2, 8});
    const auto expected = net->forward(x);
    const auto result = fold(*net);
    if (pooled) {
      EXPECT_EQ(result.kept, (Pairs{{"0", "\"1\" takes the maximum, but the map's scale is not positive"}}));
    } else {
      EXPECT_EQ(result.merged, (Pairs{{"0", "1"}}));
    }
    EXPECT_LE(relative_error(net->forward(x), expected), 1e-6);
  }
}

struct DoublingLinearImpl : torch::nn::LinearImpl {
  using torch::nn::LinearImpl::LinearImpl;
  torch::Tensor forward(const torch::Tensor& x) { return 2 * torch::relu(torch::nn::LinearImpl::forward(x)); }
};
TORCH_MODULE(DoublingLinear);

TEST(Fold, OtherLayersAreLeftAlone) {
  const auto result = check(
      [] {
        Sequential net(ANAct("relu"), ANAct("silu"), torch::nn::BatchNorm1d(6), ANAct("elu"), DoublingLinear(6, 6),
                       ANAct("tanh"), torch::nn::ConvTranspose1d(torch::nn::ConvTranspose1dOptions(6, 2, 3)),
                       ANAct("gelu"), torch::nn::AvgPool1d(2), Linear(4, 3));
        return net;
      },
      {4, 6, 6});
  EXPECT_TRUE(result.merged.empty());
  ASSERT_EQ(result.kept.size(), 5U);
  const auto reason = [](const std::string& path, const std::string& type) {
    return "\"" + path + "\" follows, a " + type + "; expected a Linear or a Conv1d, 2d or 3d";
  };
  EXPECT_EQ(result.kept[0], (std::pair<std::string, std::string>("0", reason("1", "anact::nn::ANActImpl"))));
  EXPECT_EQ(result.kept[1].second, reason("2", "torch::nn::BatchNorm1dImpl"));
  EXPECT_NE(result.kept[2].second.find("DoublingLinearImpl"), std::string::npos);
  EXPECT_EQ(result.kept[3].second, reason("6", "torch::nn::ConvTranspose1dImpl"));
  EXPECT_EQ(result.kept[4].second, reason("8", "torch::nn::AvgPool1dImpl"));
}

TEST(Fold, WhatIsInsertedLeavesTheNamesAndOrderOfTheRest) {
  Sequential net;
  net->push_back("in", Linear(4, 4));
  net->push_back("act", ANAct("relu"));
  net->push_back("norm", torch::nn::BatchNorm1d(4));
  net->push_back("act_affine", ANAct("silu"));
  net->push_back("last", torch::nn::Sigmoid());
  net->eval();
  const auto x = torch::randn({7, 4});
  const auto expected = net->forward(x);
  const auto pairs = fold(*net).kept;
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(net->named_children().keys(),
            (Paths{"in", "act", "act_affine_", "norm", "act_affine", "act_affine_affine", "last"}));
  const auto children = net->children();
  ASSERT_EQ(net->size(), children.size());
  for (std::size_t i = 0; i < children.size(); ++i) EXPECT_EQ(net[i], children[i]) << i;
  EXPECT_NE(net->named_parameters().find("norm.weight"), nullptr);
  EXPECT_LE(relative_error(net->forward(x), expected), 1e-6);
  // Everything is in evaluation, and nothing is left to fold.
  const auto again = fold(*net);
  EXPECT_TRUE(again.merged.empty() && again.kept.empty() && again.unreached.empty());
}

TEST(Fold, SharedLayersAreNotMergedInto) {
  const auto result = check(
      [] {
        const Linear shared(4, 4);
        return Sequential(ANAct("relu"), shared, ANAct("relu"), shared, ANAct("silu"), Linear(4, 2));
      },
      {6, 4});
  EXPECT_EQ(result.kept, (Pairs{{"0", "\"1\" stands in several places"}, {"2", "\"3\" stands in several places"}}));
  EXPECT_EQ(result.merged, (Pairs{{"4", "5"}}));
}

struct BlockImpl : torch::nn::Module {
  BlockImpl() {
    head = register_module("head", Linear(4, 4));
    body = register_module("body", Sequential(Linear(4, 4), ANAct("elu"), head));
    inner = register_module("inner", ANAct("silu"));
  }
  torch::Tensor forward(const torch::Tensor& x) { return inner->forward(x + body->forward(x)); }
  Linear head{nullptr};
  Sequential body{nullptr};
  ANAct inner{nullptr};
};
TORCH_MODULE(Block);

TEST(Fold, MembersAreNamedAndKeepComputing) {
  const auto x = torch::randn({9, 4});
  Block block;
  Sequential net(Linear(4, 4), ANAct("relu"), block, Linear(4, 2));
  settle(net, x);
  const auto expected = net->forward(x);
  const auto result = fold(*net);
  EXPECT_TRUE(result.merged.empty());
  EXPECT_EQ(result.unreached, Paths{"2.inner"});
  ASSERT_EQ(result.kept.size(), 2U);
  EXPECT_EQ(result.kept[0].first, "1");
  EXPECT_NE(result.kept[0].second.find("BlockImpl"), std::string::npos) << result.kept[0].second;
  // The layer is a member of the block too.
  EXPECT_EQ(result.kept[1], (std::pair<std::string, std::string>("2.body.1", "\"2.body.2\" stands in several places")));
  EXPECT_EQ(count_anacts(*net), 1);
  EXPECT_LE(relative_error(net->forward(x), expected), 1e-6);
}

TEST(Fold, TheModuleItselfCannotBeReplaced) {
  ANAct act;
  act->eval();
  EXPECT_EQ(fold(*act).unreached, Paths{""});
}

TEST(Fold, AModuleThatNoPointerOwns) {
  BlockImpl block;
  block.eval();
  EXPECT_EQ(fold(block).unreached, Paths{"inner"});
}

// Holds a Sequential, as one Sequential cannot hold another.
struct WrapperImpl : torch::nn::Module {
  explicit WrapperImpl(Sequential inner) : body(register_module("body", std::move(inner))) {}
  torch::Tensor forward(const torch::Tensor& x) { return body->forward(x); }
  Sequential body;
};
TORCH_MODULE(Wrapper);

TEST(Fold, ASharedBlockIsFoldedOnce) {
  const auto result = check(
      [] {
        const Wrapper shared(Sequential(ANAct("relu"), Linear(4, 4), ANAct("silu")));
        return Sequential(shared, shared, Linear(4, 2));
      },
      {5, 4});
  EXPECT_EQ(result.merged, (Pairs{{"0.body.0", "0.body.1"}}));
  EXPECT_EQ(result.kept, (Pairs{{"0.body.2", "no layer follows in the same Sequential"}}));
}

TEST(Fold, ASharedANActIsFoldedInEachPlace) {
  const auto result = check(
      [] {
        const ANAct shared("silu");
        return Sequential(Linear(4, 4), shared, Linear(4, 4), shared, Conv1d(Conv1dOptions(3, 2, 3).padding(1)), shared,
                          Linear(4, 3));
      },
      {5, 3, 4});
  EXPECT_EQ(result.merged, (Pairs{{"1", "2"}, {"5", "6"}}));
  ASSERT_EQ(result.kept.size(), 1U);
  EXPECT_EQ(result.kept[0].first, "3");
}

TEST(Fold, TiedTensorsAreNotMergedInto) {
  const auto x = torch::randn({6, 4});
  Linear first(4, 4);
  Linear second(4, 4);
  second->weight = first->weight;
  Linear third(4, 4);
  Linear fourth(4, 4);
  fourth->bias = third->bias;
  Sequential net(ANAct("relu"), first, ANAct("silu"), second, ANAct("elu"), third, ANAct("tanh"), fourth);
  net->eval();
  const auto expected = net->forward(x);
  const auto result = fold(*net);
  EXPECT_EQ(result.kept, (Pairs{{"0", "\"1\" shares its weight or bias with \"3\""},
                                {"2", "\"3\" shares its weight or bias with \"1\""},
                                {"4", "\"5\" shares its weight or bias with \"7\""},
                                {"6", "\"7\" shares its weight or bias with \"5\""}}));
  EXPECT_LE(relative_error(net->forward(x), expected), 1e-6);
}

TEST(Fold, EmbeddingsMayHoldTheWeight) {
  struct ModelImpl : torch::nn::Module {
    ModelImpl() {
      // One way round and the other: the registered tensor, or the one that is computed with.
      decoders[0]->weight = tokens[0]->weight;
      tokens[1]->weight = decoders[1]->weight;
      for (int i = 0; i < 2; ++i) {
        register_module("tokens" + std::to_string(i), tokens[i]);
        register_module("body" + std::to_string(i), Sequential(ANAct("relu"), decoders[i]));
      }
    }
    torch::nn::Embedding tokens[2] = {torch::nn::Embedding(9, 4), torch::nn::Embedding(9, 4)};
    Linear decoders[2] = {Linear(4, 9), Linear(4, 9)};
  };
  ModelImpl model;
  model.eval();
  EXPECT_EQ(fold(model).kept, (Pairs{{"body0.0", "\"body0.1\" shares its weight or bias with \"tokens0\""},
                                     {"body1.0", "\"body1.1\" shares its weight or bias with \"tokens1\""}}));
}

// A Sequential of the user's own, with a child that forward does not call.
struct TaggedImpl : torch::nn::SequentialImpl {
  explicit TaggedImpl(bool tagged) {
    if (tagged) register_module("tag", Linear(1, 1));
    push_back("act", ANAct("relu"));
    push_back("out", Linear(3, 2));
  }
  torch::Tensor forward(const torch::Tensor& x) { return torch::nn::SequentialImpl::forward(x); }
};

TEST(Fold, DerivedSequentialsAreReachedWhenTheirChildrenAreWhatTheyCall) {
  for (const bool tagged : {false, true}) {
    TaggedImpl net(tagged);
    net.eval();
    const auto x = torch::randn({4, 3});
    const auto expected = net.forward(x);
    const auto result = fold(net);
    EXPECT_EQ(result.merged, tagged ? Pairs{} : (Pairs{{"act", "out"}}));
    EXPECT_EQ(result.unreached, tagged ? Paths{"act"} : Paths{});
    EXPECT_LE(relative_error(net.forward(x), expected), 1e-6);
  }
}

TEST(Fold, CustomActivations) {
  const CustomActivation cube_root{"cube_root", [](const torch::Tensor& x) { return x.sign() * x.abs().pow(1.0 / 3); },
                                   [](const torch::Tensor& x) { return x.abs().clamp_min(1e-2).pow(-2.0 / 3) / 3; }};
  const auto result =
      check([&] { return Sequential(Linear(4, 6), ANAct(cube_root), Linear(6, 5), ANAct(cube_root)); }, {20, 4});
  EXPECT_EQ(result.merged, (Pairs{{"1", "2"}}));
}

TEST(Fold, ACustomActivationIsGivenFloatsOf16BitInputs) {
  torch::Dtype seen = torch::kLong;
  const CustomActivation square{"square",
                                [&seen](const torch::Tensor& x) {
                                  seen = x.scalar_type();
                                  return x.square();
                                },
                                [](const torch::Tensor& x) { return 2 * x; }};
  Sequential net{ANAct(square)};
  net->to(torch::kBFloat16);
  net->eval();
  fold(*net);
  EXPECT_EQ(net->forward(torch::ones({3}, torch::kBFloat16)).scalar_type(), torch::kBFloat16);
  EXPECT_EQ(seen, torch::kFloat);
}

TEST(Fold, SixteenBitNetworks) {
  for (const auto& [type, bound] : {std::pair(torch::kBFloat16, 3e-2), std::pair(torch::kHalf, 4e-3)}) {
    torch::manual_seed(2);
    Sequential net(Linear(8, 32), ANAct("gelu"), Linear(LinearOptions(32, 32).bias(false)), ANAct("hardsigmoid"),
                   torch::nn::Tanh(), Linear(32, 4));
    const auto x = torch::randn({40, 8});
    settle(net, x);
    net->to(type);
    const auto expected = net->forward(x.to(type));
    const auto result = fold(*net);
    EXPECT_EQ(result.merged, (Pairs{{"1", "2"}}));
    EXPECT_EQ(result.kept.size(), 1U);
    for (const auto& parameter : net->parameters()) EXPECT_EQ(parameter.scalar_type(), type);
    EXPECT_LE(relative_error(net->forward(x.to(type)), expected), bound);
  }
}

TEST(Fold, ScalarsStridesAndEmptyInputsStayWhatTheyAre) {
  Sequential net(ANAct("silu"), torch::nn::Sigmoid());
  net->eval();
  fold(*net);
  for (const auto type : {torch::kFloat, torch::kDouble, torch::kBFloat16}) {
    const auto y = net->forward(torch::zeros({}, type));
    EXPECT_EQ(y.scalar_type(), type);
    EXPECT_EQ(y.dim(), 0);
    EXPECT_EQ(net->forward(torch::zeros({0, 3}, type)).sizes(), (std::vector<std::int64_t>{0, 3}));
  }
  const auto x = torch::randn({2, 3, 4, 5}).contiguous(torch::MemoryFormat::ChannelsLast);
  EXPECT_EQ(net->forward(x).strides(), x.strides());
}

TEST(Fold, GradientsStillFlow) {
  Sequential net(Linear(4, 4), ANAct("silu"), Linear(LinearOptions(4, 4).bias(false)), ANAct("relu2"));
  net->eval();
  const auto x = torch::randn({6, 4}, torch::requires_grad());
  const auto expected = torch::autograd::grad({net->forward(x).sum()}, {x})[0];
  fold(*net);
  const auto actual = torch::autograd::grad({net->forward(x).sum()}, {x})[0];
  EXPECT_LE(relative_error(actual, expected), 1e-5);
}

TEST(Fold, ParametersStayTheObjectsTheyWereWithTheirRequirements) {
  Sequential net(ANAct("silu"), Linear(4, 4), ANAct("silu"), Linear(LinearOptions(4, 4).bias(false)), ANAct("silu"),
                 Linear(LinearOptions(4, 4).bias(false)));
  net->eval();
  net[1]->as<Linear>()->weight.set_requires_grad(false);
  net[5]->as<Linear>()->weight.set_requires_grad(false);
  const auto before = net->named_parameters();
  fold(*net);
  const auto after = net->named_parameters();
  for (const char* name : {"1.weight", "1.bias", "3.weight", "5.weight"}) {
    EXPECT_TRUE(after[name].is_same(before[name])) << name;
    EXPECT_TRUE(after[name].is_leaf()) << name;
  }
  EXPECT_FALSE(after["1.weight"].requires_grad());
  EXPECT_TRUE(after["1.bias"].requires_grad());
  EXPECT_TRUE(after["3.weight"].requires_grad());
  EXPECT_TRUE(after["3.bias"].requires_grad());
  EXPECT_FALSE(after["5.bias"].requires_grad());
  EXPECT_EQ(after.size(), 6U);
}

// That fold throws what says `expected`, and changes nothing.
void expect_refusal(Sequential& net, const std::string& expected) {
  std::vector<torch::Tensor> values;
  for (const auto& parameter : net->parameters()) values.push_back(parameter.detach().clone());
  const auto modules = net->modules();
  try {
    fold(*net);
    ADD_FAILURE() << "fold did not throw";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
  }
  EXPECT_EQ(net->modules(), modules);
  const auto parameters = net->parameters();
  ASSERT_EQ(parameters.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(torch::equal(parameters[i], values[i])) << i;
}

TEST(Fold, RefusesWhatIsInTraining) {
  Sequential net(ANAct("silu"), Linear(4, 4), ANAct("relu"), torch::nn::Dropout(0.5));
  expect_refusal(net, "the module itself is in training");
  net->eval();
  net[3]->train();
  expect_refusal(net, "\"3\" is in training");
  net[3]->eval();
  EXPECT_EQ(fold(*net).merged.size(), 1U);
}

TEST(Fold, RefusesStatisticsThatAreNotFinite) {
  Sequential net(ANAct("silu"), Linear(4, 4), ANAct("relu"));
  net->eval();
  net[2]->as<ANAct>()->output_mean.fill_(std::numeric_limits<double>::quiet_NaN());
  expect_refusal(net, "alpha of \"2\"");
}

TEST(Fold, FindsNothingWhereThereIsNothing) {
  Sequential net(Linear(2, 2), torch::nn::ReLU());
  net->eval();
  const auto result = fold(*net);
  EXPECT_TRUE(result.merged.empty() && result.kept.empty() && result.unreached.empty());
}

}  // namespace
}  // namespace anact::nn
