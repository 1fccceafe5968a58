#include "models/resnet.h"

#include <torch/nn/modules/container/sequential.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "models/check.h"
#include "text/words.h"

namespace anact::models {
namespace {

// Output channels of a bottleneck for each of its inner ones.
constexpr std::int64_t kExpansion = 4;

// What Residual::nf multiplies a branch by.
constexpr double kBranchScale = 0.2;

constexpr std::array<std::string_view, 3> kResiduals{"post", "pre", "nf"};

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

std::string_view to_string(Residual value) { return kResiduals.at(static_cast<std::size_t>(value)); }

Residual parse_residual(std::string_view text) {
  const auto found = std::ranges::find(kResiduals, text);
  if (found != kResiduals.end()) return static_cast<Residual>(found - kResiduals.begin());
  throw std::invalid_argument("expected post, pre or nf, found '" + std::string(text) + "'");
}

NormAndActivation::NormAndActivation(torch::nn::Module& owner, const std::string& suffix, const ResNetOptions& options,
                                     std::int64_t channels)
    : norm_(make_image_norm(options.norm, channels)), activation_(options.activation()) {
  if (!norm_.is_empty()) owner.register_module("bn" + suffix, norm_.ptr());
  owner.register_module("act" + suffix, activation_.ptr());
}

// Two 3x3 convolutions, or one 3x3 between two 1x1, and the shortcut around them.
class ResidualBlock : public torch::nn::Module {
 public:
  // input_variance: what Residual::nf is to expect.
  ResidualBlock(const ResNetOptions& options, const Architecture& architecture, std::int64_t inputs, std::int64_t width,
                std::int64_t stride, double input_variance)
      : post_(options.residual == Residual::post), stride_(stride), inputs_(inputs) {
    if (architecture.bottleneck) {
      outputs_ = kExpansion * width;
      add(options, inputs, width, 1, 1);
      add(options, width, width, 3, stride);
      add(options, width, outputs_, 1, 1);
    } else {
      outputs_ = width;
      add(options, inputs, width, 3, stride);
      add(options, width, width, 3, 1);
    }
    if (architecture.projection && (stride != 1 || inputs != outputs_)) {
      downsample_->push_back(conv(options, inputs, outputs_, 1, stride));
      auto norm = post_ ? make_image_norm(options.norm, outputs_) : torch::nn::AnyModule();
      if (!norm.is_empty()) downsample_->push_back(std::move(norm));
      register_module("downsample", downsample_);
    }
    if (options.skip_init) skip_gain_ = register_parameter("skip_gain", torch::zeros({}));
    if (options.residual == Residual::nf) {
      input_scale_ = 1 / std::sqrt(input_variance);
      branch_scale_ = kBranchScale;
    }
  }

  torch::Tensor forward(const torch::Tensor& input) {
    auto x = input;
    if (post_) {
      for (std::size_t i = 0; i + 1 < convs_.size(); ++i) x = places_[i].forward(convs_[i]->forward(x));
      x = places_.back().normalize(convs_.back()->forward(x));
      return places_.back().activate(sum(x, shortcut(input)));
    }
    if (input_scale_ != 1) x = x * input_scale_;
    x = places_.front().forward(x);
    const auto carried = shortcut(downsample_->is_empty() ? input : x);
    for (std::size_t i = 0; i + 1 < convs_.size(); ++i) x = places_[i + 1].forward(convs_[i]->forward(x));
    return sum(convs_.back()->forward(x), carried);
  }

  [[nodiscard]] std::int64_t outputs() const { return outputs_; }

  // What Residual::nf is to expect of the output of this block, from what it is to expect of the input.
  [[nodiscard]] double output_variance(double input_variance) const {
    const double share = static_cast<double>(inputs_) / static_cast<double>(outputs_);
    return (downsample_->is_empty() ? share * input_variance : 1) + branch_scale_ * branch_scale_;
  }

 private:
  void add(const ResNetOptions& options, std::int64_t inputs, std::int64_t outputs, std::int64_t kernel,
           std::int64_t stride) {
    const auto suffix = std::to_string(convs_.size() + 1);
    // In the order of their use, by which activations are counted.
    if (!post_) places_.emplace_back(*this, suffix, options, inputs);
    convs_.push_back(register_module("conv" + suffix, conv(options, inputs, outputs, kernel, stride)));
    if (post_) places_.emplace_back(*this, suffix, options, outputs);
  }

  // The branch may be changed.
  torch::Tensor sum(torch::Tensor branch, const torch::Tensor& carried) {
    if (skip_gain_.defined()) branch = branch * skip_gain_;
    if (branch_scale_ != 1) branch = branch * branch_scale_;
    return branch.add_(carried);
  }

  torch::Tensor shortcut(const torch::Tensor& input) {
    if (!downsample_->is_empty()) return downsample_->forward(input);
    const std::int64_t missing = outputs_ - input.size(1);
    if (stride_ == 1 && missing == 0) return input;
    const auto pixels = input.slice(2, 0, std::nullopt, stride_).slice(3, 0, std::nullopt, stride_);
    return torch::constant_pad_nd(pixels, {0, 0, 0, 0, missing / 2, missing - missing / 2});
  }

  bool post_;
  std::int64_t stride_;
  std::int64_t inputs_, outputs_ = 0;
  double input_scale_ = 1;
  double branch_scale_ = 1;
  std::vector<WeightedConv2d> convs_;
  std::vector<NormAndActivation> places_;  // Residual::post: after the convolutions, else before them
  torch::nn::Sequential downsample_;       // empty without a projection
  torch::Tensor skip_gain_;                // undefined without
};

ResNetImpl::ResNetImpl(ResNetOptions given) : options(std::move(given)) {
  check_positive("ResNet", "channels", options.channels);
  check_positive("ResNet", "classes", options.classes);
  check_activation("ResNet", options.activation);
  const auto& architecture = find_architecture(options.depth);
  std::int64_t width = architecture.width;
  const bool small = options.stem == ResNetStem::cifar;
  conv1_ = register_module("conv1", conv(options, options.channels, width, small ? 3 : 7, small ? 1 : 2));
  if (options.residual == Residual::post) own_.emplace(*this, "1", options, width);
  std::int64_t channels = width;
  double variance = 1;
  for (std::size_t stage = 0; stage < architecture.blocks.size(); ++stage) {
    const int blocks = architecture.blocks[stage];
    if (blocks == 0) break;
    torch::nn::Sequential layer;
    for (int i = 0; i < blocks; ++i) {
      const std::int64_t stride = i == 0 && stage > 0 ? 2 : 1;
      blocks_.push_back(std::make_shared<ResidualBlock>(options, architecture, channels, width, stride, variance));
      channels = blocks_.back()->outputs();
      variance = blocks_.back()->output_variance(variance);
      layer->push_back(blocks_.back());
    }
    register_module("layer" + std::to_string(stage + 1), layer);
    width *= 2;
  }
  if (options.residual != Residual::post) own_.emplace(*this, "1", options, channels);
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
  auto x = conv1_->forward(input);
  if (options.residual == Residual::post) x = own_->forward(x);
  if (options.stem == ResNetStem::imagenet) x = torch::max_pool2d(x, 3, 2, 1);
  for (const auto& block : blocks_) x = block->forward(x);
  if (options.residual != Residual::post) x = own_->forward(x);
  return fc_->forward(torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
}

}  // namespace anact::models
