// The forms of residual networks against the same in plain operations of torch.

#include <gtest/gtest.h>

#include "anact/probe.h"
#include "models/networks.h"
#include "models/reference.h"
#include "models/resnet.h"

namespace anact::models {
namespace {

using namespace test;
using Values = std::map<std::string, torch::Tensor>;

struct Form {
  std::int64_t depth = 20;
  Norm norm = Norm::none;
  WeightStandardization standardization = WeightStandardization::none;
  Residual residual = Residual::pre;
  bool skip_init = false;

  [[nodiscard]] std::string text() const {
    return "resnet" + std::to_string(depth) + " " + std::string(to_string(norm)) + " " +
           std::string(to_string(standardization)) + " " + std::string(to_string(residual)) +
           (skip_init ? " skipinit" : "");
  }
};

ResNet make(const Form& form, ActivationFactory activation) {
  return ResNet(ResNetOptions{.classes = 7,
                              .depth = form.depth,
                              .norm = form.norm,
                              .standardization = form.standardization,
                              .residual = form.residual,
                              .skip_init = form.skip_init,
                              .activation = std::move(activation)});
}

// The forms of the papers, block by block.
class Reference {
 public:
  Reference(const Form& form, const Values& values) : form_(form), values_(values) {}

  torch::Tensor logits(const torch::Tensor& input) {
    const bool post = form_.residual == Residual::post;
    auto x = conv("conv1", input, 1, 1);
    if (post) x = torch::silu(norm("bn1", x));
    const std::vector<int> blocks = form_.depth == 20   ? std::vector<int>{3, 3, 3}
                                    : form_.depth == 18 ? std::vector<int>{2, 2, 2, 2}
                                                        : std::vector<int>{3, 4, 6, 3};
    double variance = 1;
    for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
      for (int i = 0; i < blocks[stage]; ++i) {
        const auto name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
        const std::int64_t stride = stage > 0 && i == 0 ? 2 : 1, channels = x.size(1);
        x = post ? after(name, x, stride) : before(name, x, stride, variance);
        // A projection gives variance 1; where half of the channels are zeros, half of the variance is left.
        if (values_.contains(name + "downsample.0.weight"))
          variance = 1;
        else
          variance *= static_cast<double>(channels) / static_cast<double>(x.size(1));
        variance += 0.04;
      }
    }
    if (!post) x = torch::silu(norm("bn1", x));
    return x.mean({2, 3}).matmul(values_.at("fc.weight").t()) + values_.at("fc.bias");
  }

 private:
  torch::Tensor conv(const std::string& name, const torch::Tensor& x, std::int64_t stride, std::int64_t padding) {
    auto weight = values_.at(name + ".weight");
    if (form_.standardization == WeightStandardization::scaled) {
      weight = standardized_by_sums(weight, values_.at(name + ".gain"));
    }
    const auto bias = values_.find(name + ".bias");
    return torch::conv2d(x, weight, bias == values_.end() ? torch::Tensor() : bias->second, stride, padding);
  }

  torch::Tensor norm(const std::string& name, const torch::Tensor& x) {
    if (form_.norm == Norm::none) return x;
    const auto channels = x.size(1);
    return normed_by_formula(form_.norm, x, std::min<std::int64_t>(32, channels / 2)) *
               values_.at(name + ".weight").view({-1, 1, 1}) +
           values_.at(name + ".bias").view({-1, 1, 1});
  }

  [[nodiscard]] std::int64_t convolutions() const { return form_.depth == 50 ? 3 : 2; }
  // Of the i-th convolution: the 3x3 one that strides is the first, or the one between two 1x1.
  [[nodiscard]] bool strides(std::int64_t i) const { return form_.depth == 50 ? i == 2 : i == 1; }
  torch::Tensor branch_conv(const std::string& block, std::int64_t i, const torch::Tensor& x, std::int64_t stride) {
    const bool point = form_.depth == 50 && i != 2;
    return conv(block + "conv" + std::to_string(i), x, strides(i) ? stride : 1, point ? 0 : 1);
  }

  torch::Tensor shortcut(const std::string& block, const torch::Tensor& raw, const torch::Tensor& activated,
                         const torch::Tensor& branch, std::int64_t stride) {
    if (values_.contains(block + "downsample.0.weight")) {
      const auto projected = conv(block + "downsample.0", activated, stride, 0);
      return form_.residual == Residual::post ? norm(block + "downsample.1", projected) : projected;
    }
    if (raw.sizes() == branch.sizes()) return raw;
    auto padded = torch::zeros_like(branch);
    const auto quarter = raw.size(1) / 2;
    padded.slice(1, quarter, 3 * quarter).copy_(raw.slice(2, 0, raw.size(2), stride).slice(3, 0, raw.size(3), stride));
    return padded;
  }

  torch::Tensor weighted(const std::string& block, const torch::Tensor& branch) {
    return form_.skip_init ? branch * values_.at(block + "skip_gain") : branch;
  }

  torch::Tensor after(const std::string& block, const torch::Tensor& input, std::int64_t stride) {
    auto x = input;
    for (std::int64_t i = 1; i <= convolutions(); ++i) {
      x = norm(block + "bn" + std::to_string(i), branch_conv(block, i, x, stride));
      if (i < convolutions()) x = torch::silu(x);
    }
    return torch::silu(shortcut(block, input, input, x, stride) + weighted(block, x));
  }

  torch::Tensor before(const std::string& block, const torch::Tensor& input, std::int64_t stride, double variance) {
    const bool nf = form_.residual == Residual::nf;
    auto x = nf ? input / std::sqrt(variance) : input;
    torch::Tensor first;
    for (std::int64_t i = 1; i <= convolutions(); ++i) {
      x = torch::silu(norm(block + "bn" + std::to_string(i), x));
      if (i == 1) first = x;
      x = branch_conv(block, i, x, stride);
    }
    return shortcut(block, input, first, x, stride) + (nf ? 0.2 : 1) * weighted(block, x);
  }

  const Form& form_;
  const Values& values_;
};

void expect_reference(const Form& form) {
  SCOPED_TRACE(form.text());
  auto model = make(form, plain("silu"));
  model->to(torch::kDouble);
  model->initialize({.kind = Initialization::he}, generator(1));
  {
    // What begins at 0 or 1 must tell.
    const torch::NoGradGuard no_grad;
    std::uint64_t seed = 0;
    for (auto& item : model->named_parameters()) {
      if (item.value().dim() < 2) item.value().uniform_(0.3, 0.8, generator(++seed));
    }
  }
  const auto values = parameters_of(*model);
  const auto input = images(3, 3, 8).to(torch::kDouble);
  const auto found = model->forward(input), expected = Reference(form, values).logits(input);
  const double size = expected.abs().max().item<double>();
  EXPECT_TRUE(found.allclose(expected, 1e-9, 1e-9 * size));
  const auto along = at::randn(found.sizes(), generator(2), torch::TensorOptions(torch::kDouble));
  const auto of_found = torch::autograd::grad({(found * along).sum()}, model->parameters());
  const auto of_expected = torch::autograd::grad({(expected * along).sum()}, model->parameters());
  const auto named = model->named_parameters();
  for (std::size_t i = 0; i < of_found.size(); ++i) {
    const double largest = of_expected[i].abs().max().item<double>();
    EXPECT_TRUE(of_found[i].allclose(of_expected[i], 1e-7, 1e-7 * largest)) << named[i].key();
    EXPECT_GT(largest, 0) << named[i].key();
  }
}

constexpr std::array kForms{Residual::post, Residual::pre, Residual::nf};
constexpr std::array kStandardizations{WeightStandardization::none, WeightStandardization::scaled};

TEST(Residual, NamesAreReadBackAndOthersRefused) {
  for (const auto residual : kForms) EXPECT_EQ(parse_residual(to_string(residual)), residual);
  EXPECT_EQ(refusal([] { (void)parse_residual("preact"); }), "expected post, pre or nf, found 'preact'");
}

TEST(Residual, EveryFormIsThePapersWithItsGradients) {
  for (const auto residual : kForms) {
    for (const auto standardization : kStandardizations) {
      for (const auto norm : {Norm::none, Norm::batch, Norm::group, Norm::layer}) {
        for (const bool skip_init : {false, true}) {
          expect_reference(
              {.norm = norm, .standardization = standardization, .residual = residual, .skip_init = skip_init});
        }
      }
    }
  }
}

TEST(Residual, ProjectionsAndBottlenecksToo) {
  for (const std::int64_t depth : {18, 50}) {
    for (const auto residual : kForms) {
      expect_reference(
          {.depth = depth,
           .norm = residual == Residual::nf ? Norm::none : Norm::group,
           .standardization = residual == Residual::nf ? WeightStandardization::scaled : WeightStandardization::none,
           .residual = residual,
           .skip_init = residual != Residual::post});
    }
  }
}

TEST(Residual, BranchesBeginAtZeroWithSkipInit) {
  for (const auto residual : kForms) {
    const Recorders recorders;
    auto model = make({.residual = residual, .skip_init = true}, recorders.factory());
    model->forward(images(2, 3, 8));
    // Into the second block goes what went into the first; into the last activation of the first, its shortcut.
    const auto& made = *recorders.made;
    const auto before = made[0]->inputs.front(), after = made[2]->inputs.front();
    const auto expected = residual == Residual::post  ? torch::silu(before)
                          : residual == Residual::pre ? before
                                                      : before / std::sqrt(1.04);
    EXPECT_TRUE(after.allclose(expected, 1e-6, 1e-7)) << to_string(residual);
  }
}

TEST(Residual, HasTheParametersOfItsPlaces) {
  const auto count = [](const Form& form) { return parameter_count(*make(form, plain("relu"))); };
  // ResNet-20 of 10 classes has 269,722 (He et al., 2016); its 19 convolutions have so many output channels.
  const std::int64_t outputs = 7 * 16 + 6 * 32 + 6 * 64;
  const std::int64_t weights = 269'722 - 2 * outputs - 65 * (10 - 7);
  EXPECT_EQ(count({.norm = Norm::batch, .residual = Residual::post}), weights + 2 * outputs);
  // Before each convolution but the first and after the last there are as many channels in all.
  EXPECT_EQ(count({.norm = Norm::batch, .residual = Residual::pre}), weights + 2 * outputs);
  EXPECT_EQ(count({.residual = Residual::pre}), weights + outputs);
  EXPECT_EQ(count({.residual = Residual::pre, .skip_init = true}), weights + outputs + 9);
  EXPECT_EQ(count({.standardization = WeightStandardization::scaled, .residual = Residual::nf, .skip_init = true}),
            weights + 2 * outputs + 9);
}

TEST(Residual, ActivationsAreCalledInTheOrderOfTheirModules) {
  struct Case {
    std::int64_t depth;
    std::size_t places;
  };
  for (const auto residual : kForms) {
    for (const auto& [depth, places] : {Case{20, 19}, Case{18, 17}, Case{50, 49}}) {
      SCOPED_TRACE(std::string(to_string(residual)) + " " + std::to_string(depth));
      const Recorders recorders;
      auto model = make({.depth = depth, .residual = residual}, recorders.factory());
      expect_one_module_a_place_that_keeps_channels_last(model, recorders, images(2, 3, 16), places);
      EXPECT_EQ(model->main_path().size(), places);
      // Modules in the order in which they were registered are those in the order of making, and of the pass.
      std::vector<const torch::nn::Module*> modules;
      for (const auto& module : model->modules(false)) {
        if (module->as<RecorderImpl>() != nullptr) modules.push_back(module.get());
      }
      ASSERT_EQ(modules.size(), places);
      for (std::size_t i = 0; i < places; ++i) EXPECT_EQ(modules[i], (*recorders.made)[i].get()) << i;
      const torch::NoGradGuard no_grad;
      auto observed = make({.depth = depth, .residual = residual}, plain("silu"));
      observed->eval();
      const auto trace = traced(observed, images(2, 3, 16));
      ASSERT_EQ(trace.linear_outputs.size(), places);
      ASSERT_EQ(trace.activations.size(), places);
    }
  }
}

TEST(Residual, TheMainPathLeadsFromConvolutionToActivation) {
  // Without a norm and with branches at 0 a convolution's output is found again before the next activation: itself
  // within a branch, else not at all, since the shortcut alone is there.
  for (const auto residual : {Residual::pre, Residual::nf}) {
    const Recorders recorders;
    auto model = make({.residual = residual, .skip_init = true}, recorders.factory());
    model->eval();
    const torch::NoGradGuard no_grad;
    const auto trace = traced(model, images(2, 3, 16));
    ASSERT_EQ(trace.linear_outputs.size(), 19u);
    for (std::size_t i = 0; i < 19; ++i) {
      const auto& entered = (*recorders.made)[i]->inputs.front();
      const auto& made = trace.linear_outputs[i];
      ASSERT_EQ(entered.sizes(), made.sizes()) << i;
      EXPECT_EQ(entered.equal(made), i == 0 || i % 2 == 1) << i;
    }
  }
}

TEST(Residual, StartsFromTheSameDrawsInEveryForm) {
  const auto weights = [](Residual residual) {
    auto model = make({.residual = residual}, plain("relu"));
    model->initialize({.kind = Initialization::he}, generator(5));
    return parameters_of(*model);
  };
  const auto post = weights(Residual::post);
  for (const auto residual : {Residual::pre, Residual::nf}) {
    const auto other = weights(residual);
    EXPECT_EQ(other.size(), post.size());
    for (const auto& [name, value] : post) EXPECT_TRUE(other.at(name).equal(value)) << name;
  }
}

// With standardized weights and activations of variance 1, what enters an activation has variance 1, but for the
// padding.
TEST(Residual, NfKeepsTheVarianceThatItExpects) {
  const double scale = standardizing_scale(parse_activation("relu"));
  const auto factory = [scale] { return torch::nn::AnyModule(PlainActivation(parse_activation("relu"), scale)); };
  auto model = make({.depth = 18, .standardization = WeightStandardization::scaled, .residual = Residual::nf}, factory);
  model->initialize({.kind = Initialization::he}, generator(1));
  nn::VarianceProbe probe(*model, nn::VarianceProbeOptions().predict(false));
  model->forward(images(4, 3, 32));
  probe.finish();
  std::size_t activations = 0;
  for (const auto& record : probe.records()) {
    // In small images the padding's zeros count.
    const bool large = record.name.starts_with("layer1") || record.name.starts_with("layer2");
    if (record.kind != LayerKind::activation || !large) continue;
    ++activations;
    EXPECT_NEAR(record.input.variance, 1, 0.2) << record.name;
  }
  EXPECT_EQ(activations, 8u);
}

}  // namespace
}  // namespace anact::models
