// The module against a plain re-implementation, and what modules are expected to do.

#include "anact/anact.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <filesystem>
#include <sstream>
#include <string>

namespace anact::nn {
namespace {

// The module with its default options, written out with PyTorch's own operations in double.
struct Plain {
  double mean, square, variance, gain;
  std::int64_t batches = 0;

  torch::Tensor operator()(const torch::Tensor& x, double alpha, double momentum) {
    const auto sigmoid = torch::sigmoid(x);
    const auto f = x * sigmoid;
    const auto slope = sigmoid * (1 + x * (1 - sigmoid));
    const auto map = [&] {
      const double held = std::pow(variance, 0.75);
      const double lambda = std::sqrt(held / (variance * gain));
      const double shift = -std::sqrt(std::max(0.0, held - lambda * lambda * (square - mean * mean)));
      return (lambda + 0.3 * std::tanh(alpha)) * (f - mean) + shift;
    };
    const auto before = map();
    const double weight = std::max(momentum, 1.0 / static_cast<double>(batches + 1));
    const auto move = [&](double& value, const torch::Tensor& fresh) {
      value += weight * (fresh.item<double>() - value);
    };
    move(mean, f.mean());
    move(square, f.square().mean());
    move(variance, x.var(false));
    move(gain, slope.square().mean());
    return batches++ == 0 ? map() : before;
  }
};

TEST(ANAct, FollowsAPlainImplementationOverFiftyBatches) {
  torch::manual_seed(0);
  ANAct act(ANActOptions("silu").momentum(0.1));
  act->to(torch::kDouble);
  const auto normal = gaussian_statistics(parse_activation("silu"));
  act->output_mean.fill_(normal.output_mean);
  act->output_square.fill_(normal.output_square);
  act->backward_gain.fill_(normal.backward_gain);
  Plain plain{normal.output_mean, normal.output_square, 1, normal.backward_gain};
  for (int batch = 0; batch < 50; ++batch) {
    const double alpha = 0.05 * batch - 1;
    {
      const torch::NoGradGuard no_grad;
      act->alpha.fill_(alpha);
    }
    const auto x = torch::randn({40, 25}, torch::kDouble) * (1 + 0.1 * batch) - 0.02 * batch;
    const auto y = act->forward(x);
    ASSERT_LE((y - plain(x, alpha, 0.1)).abs().max().item<double>(), 1e-10) << batch;
  }
  EXPECT_NEAR(act->output_mean.item<double>(), plain.mean, 1e-12);
  EXPECT_NEAR(act->output_square.item<double>(), plain.square, 1e-12);
  EXPECT_NEAR(act->input_variance.item<double>(), plain.variance, 1e-12);
  EXPECT_NEAR(act->backward_gain.item<double>(), plain.gain, 1e-12);
  EXPECT_EQ(act->num_batches_tracked.item<std::int64_t>(), 50);
  EXPECT_NEAR(act->factor(), std::sqrt(std::pow(plain.variance, -0.25) / plain.gain), 1e-12);
}

TEST(ANAct, IsTheFixedGainActivationBeforeAnyBatch) {
  ANAct act("relu");
  act->eval();
  const auto x = torch::randn({100});
  // ReLU under N(0, 1): mean 1/sqrt(2 pi), rho' = 1/2, so lambda = sqrt 2; lambda^2 Var f = 1 - 1/pi.
  const auto expected = std::sqrt(2.0) * (torch::relu(x) - 1 / std::sqrt(2 * M_PI)) - 1 / std::sqrt(M_PI);
  EXPECT_LE((act->forward(x) - expected).abs().max().item<double>(), 1e-6);
}

TEST(ANAct, EvaluationChangesNothing) {
  ANAct act;
  act->forward(torch::randn({64}) * 3);
  const auto before = act->statistics();
  act->eval();
  const auto x = torch::randn({64});
  const auto first = act->forward(x);
  act->forward(torch::randn({64}) * 100);
  EXPECT_EQ(act->statistics(), before);
  EXPECT_EQ(act->num_batches_tracked.item<std::int64_t>(), 1);
  EXPECT_TRUE(torch::equal(act->forward(x), first));
}

TEST(ANAct, HasTheKeysOfTheDesign) {
  ANAct act;
  std::vector<std::string> names;
  for (const auto& item : act->named_parameters()) names.push_back(item.key());
  for (const auto& item : act->named_buffers()) names.push_back(item.key());
  EXPECT_EQ(names, (std::vector<std::string>{"alpha", "output_mean", "output_square", "input_variance", "backward_gain",
                                             "num_batches_tracked", "num_batches_skipped"}));
}

TEST(ANAct, SavesAndLoads) {
  torch::nn::Sequential net(torch::nn::Linear(4, 8), ANAct("gelu"), torch::nn::Linear(8, 2));
  for (int i = 0; i < 5; ++i) net->forward(torch::randn({16, 4}));
  {
    const torch::NoGradGuard no_grad;
    net->named_parameters()["1.alpha"].fill_(0.7);
  }
  std::stringstream stream;
  torch::save(net, stream);
  torch::nn::Sequential other(torch::nn::Linear(4, 8), ANAct("gelu"), torch::nn::Linear(8, 2));
  torch::load(other, stream);
  net->eval();
  other->eval();
  const auto x = torch::randn({16, 4});
  EXPECT_TRUE(torch::equal(net->forward(x), other->forward(x)));
  EXPECT_EQ(other->named_buffers()["1.num_batches_tracked"].item<std::int64_t>(), 5);
}

TEST(ANAct, CloneCarriesEverythingAndSharesNothing) {
  ANAct act(ANActOptions("silu").momentum(0.5).solution(Solution::exact));
  act->forward(torch::randn({32}));
  act->forward(torch::full({4}, NAN));
  const auto copy = std::dynamic_pointer_cast<ANActImpl>(act->clone());
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->options.solution(), Solution::exact);
  EXPECT_EQ(copy->statistics(), act->statistics());
  EXPECT_EQ(copy->num_batches_tracked.item<std::int64_t>(), 1);
  EXPECT_EQ(copy->num_batches_skipped.item<std::int64_t>(), 1);
  const auto before = act->statistics();
  copy->forward(torch::randn({32}) * 9);
  copy->forward(torch::full({4}, NAN));
  EXPECT_EQ(act->statistics(), before);
  EXPECT_EQ(act->num_batches_skipped.item<std::int64_t>(), 1);
  EXPECT_EQ(copy->num_batches_skipped.item<std::int64_t>(), 2);
}

TEST(ANAct, StatisticsStayFloatWhenTheModelIsCast) {
  torch::nn::Sequential net(torch::nn::Linear(4, 8), ANAct("silu"));
  net->to(torch::kBFloat16);
  const auto act = net->named_buffers();
  EXPECT_EQ(act["1.output_mean"].scalar_type(), torch::kFloat);
  EXPECT_EQ(act["1.num_batches_tracked"].scalar_type(), torch::kLong);
  EXPECT_EQ(net->named_parameters()["1.alpha"].scalar_type(), torch::kBFloat16);
  const auto y = net->forward(torch::randn({3, 4}, torch::kBFloat16));
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  y.sum().backward();
  EXPECT_EQ(net->named_parameters()["1.alpha"].grad().scalar_type(), torch::kBFloat16);
  net->to(torch::kDouble);
  EXPECT_EQ(net->named_buffers()["1.output_mean"].scalar_type(), torch::kDouble);
  net->forward(torch::randn({3, 4}, torch::kDouble));
  net->to(torch::Device(torch::kCPU), torch::kFloat);
  EXPECT_EQ(net->named_buffers()["1.output_mean"].scalar_type(), torch::kFloat);
  EXPECT_EQ(net->named_buffers()["1.num_batches_tracked"].item<std::int64_t>(), 2);
}

TEST(ANAct, BuffersStayTheSameTensors) {
  ANAct act;
  const auto* data = act->output_mean.const_data_ptr();
  const auto version = act->output_mean._version();
  act->forward(torch::randn({10}));
  EXPECT_EQ(act->output_mean.const_data_ptr(), data);
  EXPECT_GT(act->output_mean._version(), version) << "autograd is not told of the change";
}

TEST(ANAct, NonFiniteInputNeverPoisonsTheStatistics) {
  for (const double poison :
       {static_cast<double>(NAN), static_cast<double>(INFINITY), -static_cast<double>(INFINITY)}) {
    ANAct act;
    act->forward(torch::randn({100}));
    const auto before = act->statistics();
    auto x = torch::randn({100});
    x[3] = poison;
    act->forward(x);
    EXPECT_EQ(act->statistics(), before);
    EXPECT_EQ(act->num_batches_skipped.item<std::int64_t>(), 1);
    EXPECT_TRUE(act->forward(torch::randn({100})).isfinite().all().item<bool>());
  }
}

// Activation checkpointing: the first pass keeps no graph, the backward pass runs the module again.
class Checkpoint : public torch::autograd::Function<Checkpoint> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x, ANActImpl* module) {
    context->save_for_backward({x});
    context->saved_data["module"] = reinterpret_cast<std::int64_t>(module);
    const torch::NoGradGuard no_grad;
    return module->forward(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto* module = reinterpret_cast<ANActImpl*>(context->saved_data["module"].toInt());
    const torch::AutoGradMode enable(true);
    const auto x = context->get_saved_variables()[0].detach().requires_grad_(true);
    const auto y = module->forward(x);
    torch::autograd::backward({y}, {gradients[0]});
    return {x.grad(), torch::Tensor()};
  }
};

TEST(ANAct, MovesOnceUnderActivationCheckpointing) {
  for (const auto source : {StatisticsSource::previous, StatisticsSource::running, StatisticsSource::batch}) {
    torch::manual_seed(8);
    ANAct plain(ANActOptions("silu").statistics(source));
    const auto checkpointed = std::dynamic_pointer_cast<ANActImpl>(plain->clone());
    for (int step = 0; step < 5; ++step) {
      // Two passes before their backward passes, as with gradient accumulation.
      std::vector<torch::Tensor> plain_x, plain_y, other_x, other_y;
      for (int part = 0; part < 2; ++part) {
        const auto x = torch::randn({200}) * (1 + step);
        plain_x.push_back(x.clone().requires_grad_(true));
        other_x.push_back(x.clone().requires_grad_(true));
        plain_y.push_back(plain->forward(plain_x.back()));
        other_y.push_back(Checkpoint::apply(other_x.back(), checkpointed.get()));
        EXPECT_TRUE(torch::equal(plain_y.back(), other_y.back()));
      }
      for (int part = 0; part < 2; ++part) {
        plain_y[part].square().sum().backward();
        other_y[part].square().sum().backward();
        EXPECT_TRUE(torch::equal(plain_x[part].grad(), other_x[part].grad())) << to_string(source) << step << part;
      }
      EXPECT_TRUE(torch::equal(plain->alpha.grad(), checkpointed->alpha.grad()));
      EXPECT_EQ(plain->statistics(), checkpointed->statistics());
      EXPECT_EQ(checkpointed->num_batches_tracked.item<std::int64_t>(), 2 * (step + 1));
    }
  }
}

TEST(ANAct, RecomputesWithTheLatestFactorsWhenABatchComesAgain) {
  // More steps than the module remembers, all with one batch, so that only the factors tell the passes apart.
  torch::manual_seed(9);
  ANAct plain("silu");
  const auto checkpointed = std::dynamic_pointer_cast<ANActImpl>(plain->clone());
  const auto x = torch::randn({100}) * 2;
  for (int step = 0; step < 70; ++step) {
    const auto plain_x = x.clone().requires_grad_(true);
    const auto other_x = x.clone().requires_grad_(true);
    plain->forward(plain_x).square().sum().backward();
    Checkpoint::apply(other_x, checkpointed.get()).square().sum().backward();
    ASSERT_TRUE(torch::equal(plain_x.grad(), other_x.grad())) << step;
  }
}

TEST(ANAct, PrintsWhatIsNotTheDefault) {
  std::stringstream text;
  text << *ANAct() << "\n"
       << *ANAct(ANActOptions("elu(alpha=0.5)")
                     .momentum(0.05)
                     .solution(Solution::forward)
                     .target(Target::unit)
                     .centre(false)
                     .learnable(false));
  EXPECT_EQ(text.str(),
            "ANAct(silu)\nANAct(elu(alpha=0.5), solution=forward, target=unit, centre=false, momentum=0.05, "
            "learnable=false)");
}

TEST(ANAct, FixedAlphaGetsNoGradient) {
  ANAct act(ANActOptions("silu").learnable(false));
  EXPECT_FALSE(act->alpha.requires_grad());
  auto x = torch::randn({10}).requires_grad_(true);
  act->forward(x).sum().backward();
  EXPECT_FALSE(act->alpha.grad().defined());
  EXPECT_TRUE(x.grad().defined());
}

TEST(ANAct, Refuses) {
  EXPECT_THROW(ANAct("sulu"), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions("silu").momentum(0)), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions("silu").momentum(NAN)), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions("silu").gate(ANActOptions::Interval(2, 1))), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions("silu").bounds(ANActOptions::Interval(0, 1))), std::invalid_argument);
  EXPECT_THROW(ANAct(ANActOptions("silu").solution(Solution::exact).centre(false)), std::invalid_argument);
}

TEST(ANAct, NormalizesADeepNetworkWhereThePlainActivationVanishes) {
  // Twenty layers with unit-gain weights: the gradient's variance at the first and the last hidden layer.
  torch::manual_seed(7);
  const auto ratio = [](bool normalized) {
    std::vector<torch::Tensor> pre;
    torch::Tensor h = torch::randn({256, 128});
    for (int layer = 0; layer < 20; ++layer) {
      const auto z = torch::matmul(h, torch::randn({128, 128}) / std::sqrt(128.0)).requires_grad_(true);
      pre.push_back(z);
      h = normalized ? ANAct("silu")->forward(z) : torch::silu(z);
    }
    const auto gradients = torch::autograd::grad({h.square().mean()}, {pre.front(), pre.back()});
    return (gradients[0].var() / gradients[1].var()).item<double>();
  };
  EXPECT_GT(ratio(true), 0.05);
  EXPECT_LT(ratio(false), 1e-3);
}

TEST(Functional, NormalizesByItsOwnBatch) {
  const auto x = (torch::randn({5000}) * 2 + 1).requires_grad_(true);
  for (const auto target : {Target::damped, Target::input}) {
    const auto y = functional::anact(x, ANActOptions("silu").target(target));
    // Of `exact` the output's second moment is the target.
    const double goal = std::pow(x.var(false).item<double>(), target == Target::damped ? 0.75 : 1);
    EXPECT_NEAR(y.square().mean().item<double>() / goal, 1, 1e-4);
    EXPECT_TRUE(y.requires_grad());
  }
}

}  // namespace
}  // namespace anact::nn
