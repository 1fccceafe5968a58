// The plain convolutional network: stages of 3x3 convolutions, each followed by an activation, without shortcuts.
#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <vector>

#include "models/activation.h"
#include "models/initialization.h"
#include "models/network.h"
#include "models/norm.h"
#include "models/weighted.h"

namespace anact::models {

struct CNNOptions {
  std::int64_t channels = 3;  // of the input
  std::int64_t classes = 0;
  std::vector<std::int64_t> widths{32, 64, 128};  // channels of each stage
  std::int64_t blocks = 2;                        // convolutions to a stage, each with an activation
  Norm norm = Norm::none;                         // between convolution and activation, in the bias's place
  WeightStandardization standardization = WeightStandardization::none;  // of the convolutions
  ActivationFactory activation;
};

// In the manner of VGG (Simonyan and Zisserman, 2015): 2x2 max pooling between the stages, at the end the average over
// the image and one linear layer.
class CNNImpl : public Network {
 public:
  // Throws std::invalid_argument for sizes below 1, without stages and without an activation.
  explicit CNNImpl(CNNOptions options);

  void initialize(const WeightInitialization& weights, const at::Generator& generator) override;

  // Each stage but the last halves the image, so its sides must be at least 2^(stages - 1).
  torch::Tensor forward(const torch::Tensor& input) override;
  [[nodiscard]] std::vector<std::string> main_path() const override;

  CNNOptions options;

 private:
  std::vector<WeightedConv2d> convs_;
  std::vector<torch::nn::AnyModule> norms_;
  std::vector<torch::nn::AnyModule> activations_;
  torch::nn::Linear output_{nullptr};
};
TORCH_MODULE(CNN);

}  // namespace anact::models
