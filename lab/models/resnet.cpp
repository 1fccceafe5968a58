#include "models/resnet.h"

#include <torch/nn/modules/container/sequential.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "models/check.h"
#include "text/words.h"

namespace anact::models {
namespace {

// Output channels of a bottleneck for each of its inner ones.
constexpr std::int64_t kExpansion = 4;

struct Architecture {
  std::int64_t depth;
  bool bottleneck;
  bool projection;            // a 1x1 convolution in shortcuts that change shape
  std::int64_t width;         // of the first stage; each further one has twice as many channels
  std::array<int, 4> blocks;  // of each stage
};

constexpr std::array<Architecture, 6> kArchitectures{{{18, false, true, 64, {2, 2, 2, 2}},
                                                      {34, false, true, 64, {3, 4, 6, 3}},
                                                      {50, true, true, 64, {3, 4, 6, 3}},
                                                      {20, false, false, 16, {3, 3, 3, 0}},
                                                      {56, false, false, 16, {9, 9, 9, 0}},
                                                      {110, false, false, 16, {18, 18, 18, 0}}}};

const Architecture& find_architecture(std::int64_t depth) {
  std::vector<std::string> known;
  for (const auto& architecture : kArchitectures) {
    if (architecture.depth == depth) return architecture;
    known.push_back(std::to_string(architecture.depth));
  }
  throw std::invalid_argument("ResNet: depth is " + std::to_string(depth) + "; there are " + text::join(known));
}

WeightedConv2d conv(const ResNetOptions& options, std::int64_t inputs, std::int64_t outputs, std::int64_t kernel,
                    std::int64_t stride) {
  const bool bias = options.norm == Norm::none;
  return WeightedConv2d(torch::nn::Conv2dOptions(inputs, outputs, kernel).stride(stride).padding(kernel / 2).bias(bias),
                        options.standardization);
}

}  // namespace

// Two 3x3 convolutions, or one 3x3 between two 1x1, and the shortcut around them.
class ResidualBlock : public torch::nn::Module {
 public:
  ResidualBlock(const ResNetOptions& options, const Architecture& architecture, std::int64_t inputs, std::int64_t width,
                std::int64_t stride)
      : stride_(stride) {
    if (architecture.bottleneck) {
      outputs_ = kExpansion * width;
      add(options, conv(options, inputs, width, 1, 1));
      add(options, conv(options, width, width, 3, stride));
      add(options, conv(options, width, outputs_, 1, 1));
    } else {
      outputs_ = width;
      add(options, conv(options, inputs, width, 3, stride));
      add(options, conv(options, width, width, 3, 1));
    }
    if (architecture.projection && (stride != 1 || inputs != outputs_)) {
      downsample_->push_back(conv(options, inputs, outputs_, 1, stride));
      if (auto norm = make_image_norm(options.norm, outputs_); !norm.is_empty()) downsample_->push_back(norm);
      register_module("downsample", downsample_);
    }
  }

  torch::Tensor forward(const torch::Tensor& input) {
    auto x = input;
    for (std::size_t i = 0; i < convs_.size(); ++i) {
      x = apply_norm(norms_[i], convs_[i]->forward(x));
      if (i + 1 == convs_.size()) x.add_(shortcut(input));
      x = activations_[i].forward(x);
    }
    return x;
  }

  [[nodiscard]] std::int64_t outputs() const { return outputs_; }

 private:
  void add(const ResNetOptions& options, const WeightedConv2d& conv) {
    const auto suffix = std::to_string(convs_.size() + 1);
    convs_.push_back(register_module("conv" + suffix, conv));
    norms_.push_back(make_image_norm(options.norm, conv->options.out_channels()));
    if (!norms_.back().is_empty()) register_module("bn" + suffix, norms_.back().ptr());
    activations_.push_back(options.activation());
    register_module("act" + suffix, activations_.back().ptr());
  }

  torch::Tensor shortcut(const torch::Tensor& input) {
    if (!downsample_->is_empty()) return downsample_->forward(input);
    const std::int64_t missing = outputs_ - input.size(1);
    if (stride_ == 1 && missing == 0) return input;
    const auto pixels = input.slice(2, 0, std::nullopt, stride_).slice(3, 0, std::nullopt, stride_);
    return torch::constant_pad_nd(pixels, {0, 0, 0, 0, missing / 2, missing - missing / 2});
  }

  std::int64_t stride_;
  std::int64_t outputs_ = 0;
  std::vector<WeightedConv2d> convs_;
  std::vector<torch::nn::AnyModule> norms_;
  std::vector<torch::nn::AnyModule> activations_;
  torch::nn::Sequential downsample_;  // empty without a projection
};

ResNetImpl::ResNetImpl(ResNetOptions given) : options(std::move(given)) {
  check_positive("ResNet", "channels", options.channels);
  check_positive("ResNet", "classes", options.classes);
  check_activation("ResNet", options.activation);
  const auto& architecture = find_architecture(options.depth);
  std::int64_t width = architecture.width;
  const bool small = options.stem == ResNetStem::cifar;
  conv1_ = register_module("conv1", conv(options, options.channels, width, small ? 3 : 7, small ? 1 : 2));
  bn1_ = make_image_norm(options.norm, width);
  if (!bn1_.is_empty()) register_module("bn1", bn1_.ptr());
  act1_ = options.activation();
  register_module("act1", act1_.ptr());
  std::int64_t channels = width;
  for (std::size_t stage = 0; stage < architecture.blocks.size(); ++stage) {
    const int blocks = architecture.blocks[stage];
    if (blocks == 0) break;
    torch::nn::Sequential layer;
    for (int i = 0; i < blocks; ++i) {
      const std::int64_t stride = i == 0 && stage > 0 ? 2 : 1;
      blocks_.push_back(std::make_shared<ResidualBlock>(options, architecture, channels, width, stride));
      channels = blocks_.back()->outputs();
      layer->push_back(blocks_.back());
    }
    register_module("layer" + std::to_string(stage + 1), layer);
    width *= 2;
  }
  fc_ = register_module("fc", torch::nn::Linear(channels, options.classes));
}

void ResNetImpl::initialize(const WeightInitialization& weights, const at::Generator& generator) {
  models::initialize(*this, fc_, weights, generator);
}

std::vector<std::string> ResNetImpl::main_path() const {
  std::vector<std::string> path;
  for (const auto& item : named_modules()) {
    const bool shortcut = item.key().find("downsample") != std::string::npos;
    if (!shortcut && item.value()->as<torch::nn::Conv2d>() != nullptr) path.push_back(item.key());
  }
  return path;
}

torch::Tensor ResNetImpl::forward(const torch::Tensor& input) {
  auto x = act1_.forward(apply_norm(bn1_, conv1_->forward(input)));
  if (options.stem == ResNetStem::imagenet) x = torch::max_pool2d(x, 3, 2, 1);
  for (const auto& block : blocks_) x = block->forward(x);
  return fc_->forward(torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
}

}  // namespace anact::models
