// Residual networks (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016).
#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

// How a block's branch f and its shortcut come together.
enum class Residual {
  post,  // activation(x + f(x)), f: weights, norm, activation, weights, norm (He et al., 2016)
  pre,   // x + f(x), f: norm, activation, weights, norm, activation, weights (He et al., "Identity mappings in deep
         // residual networks", 2016). A 1x1 convolution in a shortcut, without a norm of its own, takes what the first
         // convolution takes. The first block's own activation stands in its branch alone, as in the code of SkipInit
         // and of NF-ResNets; the paper has it before the shortcut too.
  nf,    // x + 0.2 f(x / beta), f as in `pre` (Brock, De and Smith, "Characterizing signal propagation to close the
         // performance gap in unnormalized ResNets", 2021). beta is the standard deviation of x that is to be expected:
  // beta^2 grows by 0.2^2 with every block, and is 1 after a 1x1 convolution in the shortcut; a shortcut that adds
  // channels of zeros takes its share from beta^2.
};

// "post", "pre", "nf".
[[nodiscard]] std::string_view to_string(Residual value);
// Throws std::invalid_argument with the accepted names.
[[nodiscard]] Residual parse_residual(std::string_view text);

// SkipInit (De and Smith, "Batch normalization biases residual blocks towards the identity function in deep networks",
// 2020) is Norm::none, Residual::pre and skip_init; an NF-ResNet is Norm::none, standardized weights, a fixed scale
// after each activation, Residual::nf and skip_init.
struct ResNetOptions {
  std::int64_t channels = 3;  // of the input
  std::int64_t classes = 0;
  // 18 and 34 (basic blocks), 50 (bottlenecks): four stages of 64 to 512 channels, a 1x1 convolution in a shortcut that
  // changes shape. 20, 56 and 110, the paper's for CIFAR: three stages of 16 to 64 channels, and such a shortcut takes
  // every second pixel and adds channels of zeros, half of them on either side (option A), so that it has no weights.
  std::int64_t depth = 18;
  ResNetStem stem = ResNetStem::cifar;
  Norm norm = Norm::batch;  // before each activation, with Residual::post in shortcuts too; in the bias's place
  WeightStandardization standardization = WeightStandardization::none;  // of the convolutions, shortcuts' too
  Residual residual = Residual::post;
  bool skip_init = false;  // multiply each branch by a learnt scalar, skip_gain, which is 0 at the start
  ActivationFactory activation;
};

// A norm and the activation after it.
class NormAndActivation {
 public:
  // Modules of `owner`, which calls them bn and act with the suffix; without a norm there is no bn.
  NormAndActivation(torch::nn::Module& owner, const std::string& suffix, const ResNetOptions& options,
                    std::int64_t channels);

  [[nodiscard]] torch::Tensor normalize(const torch::Tensor& input) { return apply_norm(norm_, input); }
  [[nodiscard]] torch::Tensor activate(const torch::Tensor& input) { return activation_.forward(input); }
  [[nodiscard]] torch::Tensor forward(const torch::Tensor& input) { return activate(normalize(input)); }

 private:
  torch::nn::AnyModule norm_, activation_;
};

class ResidualBlock;

// Weights and norms have torchvision's names (conv1.weight, layer2.0.downsample.0.weight, fc.bias), those of CIFAR by
// the same rule; another norm than BatchNorm is called bn1 too, as with torchvision's norm_layer. torchvision's blocks
// use one `relu` for all their places; here each place has a module of its own, called after its norm: act1 and bn1 of
// the network come after its first convolution, with Residual::pre and nf after the last block; act1 and bn1 of a block
// come after its first convolution, with pre and nf before it, and so on. The last activation of a block of
// Residual::post comes after the addition.
class ResNetImpl : public Network {
 public:
  // Throws std::invalid_argument for sizes below 1, for a depth that there is not and without an activation.
  explicit ResNetImpl(ResNetOptions options);

  void initialize(const WeightInitialization& weights, const at::Generator& generator) override;

  // The main path has no convolutions of shortcuts. Each of its convolutions leads to the next activation, with the
  // shortcut added on the way to some.
  torch::Tensor forward(const torch::Tensor& input) override;
  [[nodiscard]] std::vector<std::string> main_path() const override;

  ResNetOptions options;

 private:
  WeightedConv2d conv1_{nullptr};
  std::optional<NormAndActivation> own_;                // bn1 and act1
  std::vector<std::shared_ptr<ResidualBlock>> blocks_;  // of all stages
  torch::nn::Linear fc_{nullptr};
};
TORCH_MODULE(ResNet);

}  // namespace anact::models
