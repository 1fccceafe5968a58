// Initial weights: those that Python draws, and that torch.nn.init draws.

#include "anact/initialization.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/python.h"
#include "support/temporary_folder.h"

namespace anact::nn {
namespace {

using anact::test::content_of;
using anact::test::script;
using anact::test::TemporaryFolder;
using torch::nn::Conv1dOptions;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::Conv3dOptions;
using torch::nn::Linear;
using torch::nn::LinearOptions;

// That of initialization_exchange.py.
torch::nn::ModuleList make_network() {
  Linear shared(24, 24), in_double(11, 13);
  in_double->to(torch::kDouble);
  torch::nn::ModuleList result(
      Linear(7, 90), Linear(LinearOptions(90, 7).bias(false)), Linear(3, 2),
      torch::nn::ModuleList(torch::nn::Conv1d(Conv1dOptions(6, 10, 3)), shared, torch::nn::BatchNorm1d(10)),
      Conv2d(Conv2dOptions(8, 12, {3, 5}).groups(4)), Conv2d(Conv2dOptions(40, 9, 3).bias(false)), shared,
      torch::nn::Conv3d(Conv3dOptions(4, 6, 2)), torch::nn::ConvTranspose2d(torch::nn::ConvTranspose2dOptions(5, 7, 3)),
      in_double);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : result->parameters()) parameter.fill_(0.5);
  return result;
}

TEST(Initialization, DrawsWhatPythonDraws) {
  const TemporaryFolder folder;
  ANACT_RUN_PYTHON(script(__FILE__, "initialization_exchange.py"), ANACT_PYTHON_PACKAGE, folder.path().string());
  for (const auto& info : recipes()) {
    const auto bytes = content_of(folder.path() / (std::string(info.name) + ".pt"));
    const auto drawn = torch::pickle_load(std::vector<char>(bytes.begin(), bytes.end())).toGenericDict();
    auto net = make_network();
    torch::manual_seed(20221107);
    initialize(*net, info.recipe);
    const auto parameters = net->named_parameters();
    EXPECT_EQ(parameters.size(), 22U);
    for (const auto& item : parameters) {
      for (const std::string prefix : {"", "plain/"}) {
        ASSERT_TRUE(drawn.contains(prefix + item.key())) << prefix << item.key();
        // The ConvTranspose2d, which Python draws after what both draw.
        if (prefix.empty() && item.key().starts_with("8.")) continue;
        EXPECT_TRUE(torch::equal(item.value(), drawn.at(prefix + item.key()).toTensor()))
            << info.name << " " << prefix << item.key();
      }
    }
  }
}

// By a generator of one's own, whatever the layout, the number of threads, and who owns the model.
TEST(Initialization, DependsOnTheGeneratorAlone) {
  for (const auto& info : recipes()) {
    std::vector<torch::Tensor> draws;
    for (const int threads : {1, 2}) {
      torch::set_num_threads(threads);
      torch::nn::Conv2dImpl conv(Conv2dOptions(100, 90, 3));
      if (threads == 2) conv.weight.set_data(conv.weight.contiguous(torch::MemoryFormat::ChannelsLast));
      const auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
      const auto before = at::detail::getDefaultCPUGenerator().get_state();
      initialize(conv, info.recipe, generator);
      EXPECT_TRUE(torch::equal(at::detail::getDefaultCPUGenerator().get_state(), before));
      EXPECT_EQ(torch::get_num_threads(), threads);
      EXPECT_EQ(conv.bias.abs().max().item<double>(), 0);
      draws.push_back(conv.weight);
    }
    EXPECT_TRUE(torch::equal(draws[0], draws[1])) << info.name;
    EXPECT_NEAR(draws[0].square().mean().item<double>() * 900, 1, 0.02) << info.name;
  }
  torch::set_num_threads(1);
}

TEST(Initialization, RefusesWhatIsNoWeight) {
  EXPECT_THROW((void)fans(torch::zeros({3})), std::invalid_argument);
  EXPECT_THROW(draw_orthogonal(torch::zeros({3})), std::invalid_argument);
  EXPECT_THROW(initialize_weight(torch::zeros({})), std::invalid_argument);
  EXPECT_THROW(draw_orthogonal(torch::zeros({3, 3}, torch::kBFloat16)), c10::Error);
  // Nothing to draw.
  initialize_weight(torch::zeros({0, 3}));
}

}  // namespace
}  // namespace anact::nn
