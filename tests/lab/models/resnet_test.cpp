#include "models/resnet.h"

#include <gtest/gtest.h>

#include <set>

#include "models/networks.h"

namespace anact::models {
namespace {

using namespace test;
using Shape = std::vector<std::int64_t>;

ResNet make(std::int64_t depth, ActivationFactory activation, std::int64_t classes = 10,
            ResNetStem stem = ResNetStem::cifar) {
  return ResNet(ResNetOptions{.classes = classes, .depth = depth, .stem = stem, .activation = std::move(activation)});
}

void add_batch_norm(std::map<std::string, Shape>& shapes, const std::string& name, std::int64_t channels) {
  for (const char* part : {"weight", "bias", "running_mean", "running_var"}) shapes[name + "." + part] = {channels};
  shapes[name + ".num_batches_tracked"] = {};
}

// The keys of the state_dict of torchvision.models.resnet18, 34 and 50 (version 0.28) with their shapes.
std::map<std::string, Shape> torchvision_state(bool bottleneck, const std::vector<int>& blocks) {
  std::map<std::string, Shape> shapes{{"conv1.weight", {64, 3, 7, 7}}};
  add_batch_norm(shapes, "bn1", 64);
  std::int64_t channels = 64;
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const std::int64_t planes = 64 << stage, outputs = bottleneck ? 4 * planes : planes;
    for (int block = 0; block < blocks[stage]; ++block) {
      const auto name = "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      const std::vector<Shape> convolutions =
          bottleneck ? std::vector<Shape>{{planes, channels, 1, 1}, {planes, planes, 3, 3}, {outputs, planes, 1, 1}}
                     : std::vector<Shape>{{planes, channels, 3, 3}, {planes, planes, 3, 3}};
      for (std::size_t i = 0; i < convolutions.size(); ++i) {
        shapes[name + "conv" + std::to_string(i + 1) + ".weight"] = convolutions[i];
        add_batch_norm(shapes, name + "bn" + std::to_string(i + 1), convolutions[i][0]);
      }
      if (block == 0 && (stage > 0 || bottleneck)) {
        shapes[name + "downsample.0.weight"] = {outputs, channels, 1, 1};
        add_batch_norm(shapes, name + "downsample.1", outputs);
      }
      channels = outputs;
    }
  }
  shapes["fc.weight"] = {1000, channels};
  shapes["fc.bias"] = {1000};
  return shapes;
}

std::map<std::string, Shape> state_of(const torch::nn::Module& model) {
  std::map<std::string, Shape> shapes;
  for (const auto& items : {model.named_parameters(), model.named_buffers()}) {
    for (const auto& item : items) shapes[item.key()] = item.value().sizes().vec();
  }
  return shapes;
}

TEST(ResNet, HasTorchvisionsNamesShapesAndCounts) {
  struct Case {
    std::int64_t depth;
    bool bottleneck;
    std::vector<int> blocks;
    std::int64_t parameters;  // as torchvision's documentation gives them
  };
  for (const auto& [depth, bottleneck, blocks, parameters] :
       {Case{18, false, {2, 2, 2, 2}, 11'689'512}, Case{34, false, {3, 4, 6, 3}, 21'797'672},
        Case{50, true, {3, 4, 6, 3}, 25'557'032}}) {
    SCOPED_TRACE(depth);
    const auto model = make(depth, plain("relu"), 1000, ResNetStem::imagenet);
    EXPECT_EQ(state_of(*model), torchvision_state(bottleneck, blocks));
    EXPECT_EQ(parameter_count(*model), parameters);
  }
}

TEST(ResNet, TheOnesForCifarHaveNoWeightsInTheirShortcuts) {
  // 0.27 M, 0.85 M and 1.7 M in the paper's table 6.
  for (const auto& [depth, parameters] :
       {std::pair<std::int64_t, std::int64_t>{20, 269'722}, {56, 853'018}, {110, 1'727'962}}) {
    const auto model = make(depth, plain("relu"));
    EXPECT_EQ(parameter_count(*model), parameters) << depth;
    std::size_t convolutions = 0;
    for (const auto& [name, shape] : state_of(*model)) {
      EXPECT_EQ(name.find("downsample"), std::string::npos);
      convolutions += shape.size() == 4;
    }
    EXPECT_EQ(convolutions, static_cast<std::size_t>(depth - 1));
  }
}

TEST(ResNet, ActivationsAreNamedByTheirPlaces) {
  const auto names = [](const ResNet& model) {
    std::set<std::string> result;
    for (const auto& item : model->named_parameters()) {
      if (item.key().ends_with(".alpha")) result.insert(item.key().substr(0, item.key().size() - 6));
    }
    return result;
  };
  std::set<std::string> expected{"act1"};
  for (const char* layer : {"layer1", "layer2", "layer3", "layer4"}) {
    for (const char* block : {".0.act", ".1.act"}) {
      for (const char* place : {"1", "2"}) expected.insert(std::string(layer) + block + place);
    }
  }
  EXPECT_EQ(names(make(18, normalized("silu"))), expected);
  const auto bottleneck = names(make(50, normalized("silu")));
  EXPECT_EQ(bottleneck.size(), 1u + 3 * 16);
  EXPECT_TRUE(bottleneck.contains("layer3.5.act3"));
}

TEST(ResNet, StemsScaleTheImage) {
  struct Case {
    ResNetStem stem;
    Shape weight;
    std::int64_t side, first_stage, last_stage;
  };
  for (const auto& [stem, weight, side, first_stage, last_stage] :
       {Case{ResNetStem::cifar, {64, 3, 3, 3}, 32, 32, 4}, Case{ResNetStem::tiny_imagenet, {64, 3, 7, 7}, 64, 32, 4},
        Case{ResNetStem::imagenet, {64, 3, 7, 7}, 64, 16, 2}}) {
    const Recorders recorders;
    auto model = make(18, recorders.factory(), 7, stem);
    EXPECT_EQ(parameters_of(*model).at("conv1.weight").sizes(), weight);
    EXPECT_EQ(model->forward(images(1, 3, side)).sizes(), (Shape{1, 7}));
    EXPECT_EQ((*recorders.made)[1]->inputs.front().size(3), first_stage);
    EXPECT_EQ(recorders.made->back()->inputs.front().sizes(), (Shape{1, 512, last_stage, last_stage}));
  }
}

TEST(ResNet, OneModuleAPlaceAndChannelsLastThroughout) {
  for (const auto& [depth, places] : {std::pair<std::int64_t, std::size_t>{18, 17}, {50, 49}, {20, 19}}) {
    const Recorders recorders;
    auto model = make(depth, recorders.factory());
    expect_one_module_a_place_that_keeps_channels_last(model, recorders, images(2, 3, 16), places);
  }
  const Recorders recorders;
  auto model = make(18, recorders.factory(), 10, ResNetStem::imagenet);
  expect_one_module_a_place_that_keeps_channels_last(model, recorders, images(2, 3, 64), 17);
}

TEST(ResNet, TracesTheMainPath) {
  struct Case {
    std::int64_t depth;
    std::size_t blocks, places;  // of a block
  };
  for (const auto& [depth, blocks, places] : {Case{18, 8, 2}, Case{50, 16, 3}, Case{20, 9, 2}}) {
    SCOPED_TRACE(depth);
    const Recorders recorders;
    auto model = make(depth, recorders.factory());
    model->eval();
    const torch::NoGradGuard no_grad;
    const auto input = images(2, 3, 16);
    const auto trace = traced(model, input);
    const auto& logits = trace.logits;
    ASSERT_EQ(trace.linear_outputs.size(), 1 + blocks * places);
    ASSERT_EQ(trace.activations.size(), 1 + blocks * places);
    std::size_t identities = 0;
    for (std::size_t i = 0; i < trace.activations.size(); ++i) {
      const auto& entered = (*recorders.made)[i]->inputs.front();
      EXPECT_TRUE(trace.activations[i].equal(torch::silu(entered))) << i;
      // A new BatchNorm in evaluation divides by sqrt(1 + eps) alone.
      const auto normalized = trace.linear_outputs[i] / std::sqrt(1 + 1e-5);
      if (i % places != 0 || i == 0) {
        EXPECT_TRUE(entered.allclose(normalized, 1e-4, 1e-5)) << i;
      } else if (const auto& block_input = trace.activations[i - places]; block_input.sizes() == entered.sizes()) {
        EXPECT_TRUE((entered - normalized).allclose(block_input, 1e-4, 1e-4)) << i;
        ++identities;
      }
    }
    EXPECT_EQ(identities, blocks - (depth == 50 ? 4 : depth == 18 ? 3 : 2));
    EXPECT_TRUE(model->forward(input).equal(logits));
  }
}

TEST(ResNet, TheLastActivationOfABlockFollowsTheAddition) {
  const Recorders recorders;
  auto model = make(20, recorders.factory());
  model->eval();
  {
    // Each block's last batch norm at 0: what is left is the shortcut.
    const torch::NoGradGuard no_grad;
    for (auto& item : model->named_parameters()) {
      if (item.key().ends_with("bn2.weight")) item.value().zero_();
    }
  }
  model->forward(images(2, 3, 16));
  const auto& made = *recorders.made;
  // The stem's activation, then two of each of the nine blocks.
  for (std::size_t block = 0; block < 9; ++block) {
    const auto input = torch::silu(made[2 * block]->inputs.front());
    auto expected = input;
    if (block == 3 || block == 6) {
      const std::int64_t channels = input.size(1);
      expected = torch::zeros({2, 2 * channels, input.size(2) / 2, input.size(3) / 2});
      expected.slice(1, channels / 2, 3 * channels / 2)
          .copy_(input.slice(2, 0, input.size(2), 2).slice(3, 0, input.size(3), 2));
    }
    EXPECT_TRUE(made[2 * block + 2]->inputs.front().equal(expected)) << block;
  }
}

TEST(ResNet, TheGradientReachesEveryParameter) {
  for (const std::int64_t depth : {18, 50, 20}) {
    SCOPED_TRACE(depth);
    auto model = make(depth, normalized("silu"));
    expect_gradients_everywhere(model, images(3, 3, 16));
  }
}

TEST(ResNet, DrawsItsWeightsByTheirFans) {
  auto model = make(18, plain("relu"), 100);
  model->initialize({.kind = Initialization::he}, generator(7));
  const auto parameters = parameters_of(*model);
  expect_normal(parameters.at("conv1.weight"), std::sqrt(2.0 / 27));
  expect_normal(parameters.at("layer1.0.conv1.weight"), std::sqrt(2.0 / (64 * 9)));
  expect_normal(parameters.at("layer2.0.downsample.0.weight"), std::sqrt(2.0 / 64));
  expect_normal(parameters.at("layer4.1.conv2.weight"), std::sqrt(2.0 / (512 * 9)));
  expect_normal(parameters.at("fc.weight"), std::sqrt(1.0 / 512));
  EXPECT_EQ(parameters.at("fc.bias").abs().max().item<double>(), 0);
  EXPECT_TRUE(parameters.at("bn1.weight").eq(1).all().item<bool>());
}

TEST(ResNet, RefusesImpossibleOptions) {
  const auto message = [](const ResNetOptions& options) { return refusal([&] { ResNet model(options); }); };
  const auto relu = plain("relu");
  EXPECT_EQ(message({.classes = 1, .depth = 20, .activation = relu}), "no error");
  EXPECT_EQ(message({.channels = 0, .classes = 1, .activation = relu}), "ResNet: channels is 0; it must be at least 1");
  EXPECT_EQ(message({.depth = 20, .activation = relu}), "ResNet: classes is 0; it must be at least 1");
  EXPECT_EQ(message({.classes = 1, .depth = 19, .activation = relu}),
            "ResNet: depth is 19; there are 18, 34, 50, 20, 56, 110");
  EXPECT_EQ(message({.classes = 1, .activation = {}}), "ResNet: activation is not set");
}

}  // namespace
}  // namespace anact::models
