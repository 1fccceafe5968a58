// Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016).
#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <string>
#include <vector>

#include "models/activation.h"
#include "models/initialization.h"
#include "models/network.h"
#include "models/norm.h"
#include "models/weighted.h"

namespace anact::models {

// What comes before the first stage.
enum class ResNetStem {
  cifar,          // 3x3 convolution, no pooling: for images of 32x32
  tiny_imagenet,  // 7x7 convolution of stride 2, no pooling: 64x64 enters the stages as 32x32, at the cost of a CIFAR
                  // image, through a convolution of the shape that weights trained on ImageNet have
  imagenet,       // 7x7 convolution of stride 2 and 3x3 max pooling of stride 2: for images of 224x224
};

struct ResNetOptions {
  std::int64_t channels = 3;  // of the input
  std::int64_t classes = 0;
  // 18 and 34 (basic blocks), 50 (bottlenecks): four stages of 64 to 512 channels, a 1x1 convolution in a shortcut that
  // changes shape. 20, 56 and 110, the paper's for CIFAR: three stages of 16 to 64 channels, and such a shortcut takes
  // every second pixel and adds channels of zeros, half of them on either side (option A), so that it has no weights.
  std::int64_t depth = 18;
  ResNetStem stem = ResNetStem::cifar;
  Norm norm = Norm::batch;  // after each convolution, shortcuts' too, and in the bias's place
  WeightStandardization standardization = WeightStandardization::none;  // of the convolutions, shortcuts' too
  ActivationFactory activation;
};

class ResidualBlock;

// Weights and norms have torchvision's names (conv1.weight, layer2.0.downsample.0.weight, fc.bias), those of CIFAR by
// the same rule; another norm than BatchNorm is called bn1 too, as with torchvision's norm_layer. torchvision's blocks
// use one `relu` for all their places; here each place has a module of its own: act1 after the first convolution of the
// network and of a block, act2 and act3 after the others, the last of a block after the addition.
class ResNetImpl : public Network {
 public:
  // Throws std::invalid_argument for sizes below 1, for a depth that there is not and without an activation.
  explicit ResNetImpl(ResNetOptions options);

  void initialize(const WeightInitialization& weights, const at::Generator& generator) override;

  // The trace follows the main path; a convolution in a shortcut is not in it. A linear output is what enters a norm,
  // so that the last activation of a block is of more than the linear output beside it.
  torch::Tensor forward(const torch::Tensor& input) override;
  [[nodiscard]] std::vector<std::string> main_path() const override;

  ResNetOptions options;

 private:
  WeightedConv2d conv1_{nullptr};
  torch::nn::AnyModule bn1_;
  torch::nn::AnyModule act1_;
  std::vector<std::shared_ptr<ResidualBlock>> blocks_;  // of all stages
  torch::nn::Linear fc_{nullptr};
};
TORCH_MODULE(ResNet);

}  // namespace anact::models
