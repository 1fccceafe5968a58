// The plain convolutional network: stages of 3x3 convolutions, each followed by an activation, without shortcuts.
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <vector>

#include "models/activation.h"
#include "models/initialization.h"

namespace anact::models {

struct CNNOptions {
  std::int64_t channels = 3;  // of the input
  std::int64_t classes = 0;
  std::vector<std::int64_t> widths{32, 64, 128};  // channels of each stage
  std::int64_t blocks = 2;                        // convolutions to a stage, each with an activation
  bool batch_norm = false;  // BatchNorm2d, in the bias's place, between convolution and activation
  ActivationFactory activation;
};

// In the manner of VGG (Simonyan and Zisserman, 2015): 2x2 max pooling between the stages, at the end the average over
// the image and one linear layer.
class CNNImpl : public torch::nn::Module {
 public:
  // Throws std::invalid_argument for sizes below 1, without stages and without an activation.
  explicit CNNImpl(CNNOptions options);

  // Weights of the convolutions by `initialization`, of the last layer by LeCun's; biases 0.
  void initialize(Initialization initialization, const Activation& activation, const at::Generator& generator);

  // input: batch x channels x height x width; each stage but the last halves the image, so its sides must be at least
  // 2^(stages - 1). Returns batch x classes, the logits. An input in channels_last keeps that layout throughout.
  torch::Tensor forward(torch::Tensor input);

  CNNOptions options;

 private:
  std::vector<torch::nn::Conv2d> convs_;
  std::vector<torch::nn::BatchNorm2d> norms_;
  std::vector<torch::nn::AnyModule> activations_;
  torch::nn::Linear output_{nullptr};
};
TORCH_MODULE(CNN);

}  // namespace anact::models
