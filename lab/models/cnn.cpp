#include "models/cnn.h"

#include <string>
#include <utility>

#include "models/check.h"

namespace anact::models {

CNNImpl::CNNImpl(CNNOptions given) : options(std::move(given)) {
  check_positive("CNN", "channels", options.channels);
  check_positive("CNN", "classes", options.classes);
  check_positive("CNN", "blocks", options.blocks);
  if (options.widths.empty()) throw std::invalid_argument("CNN: widths is empty; it must have a width for each stage");
  for (const auto width : options.widths) check_positive("CNN", "a width", width);
  check_activation("CNN", options.activation);
  std::int64_t channels = options.channels;
  for (const auto width : options.widths) {
    for (std::int64_t block = 0; block < options.blocks; ++block) {
      const auto suffix = std::to_string(convs_.size());
      const auto conv = torch::nn::Conv2dOptions(channels, width, 3).padding(1).bias(options.norm == Norm::none);
      convs_.push_back(register_module("conv" + suffix, WeightedConv2d(conv, options.standardization)));
      norms_.push_back(make_image_norm(options.norm, width));
      if (!norms_.back().is_empty()) register_module("norm" + suffix, norms_.back().ptr());
      activations_.push_back(options.activation());
      register_module("activation" + suffix, activations_.back().ptr());
      channels = width;
    }
  }
  output_ = register_module("output", torch::nn::Linear(channels, options.classes));
}

void CNNImpl::initialize(const WeightInitialization& weights, const at::Generator& generator) {
  models::initialize(*this, output_, weights, generator);
}

std::vector<std::string> CNNImpl::main_path() const {
  std::vector<std::string> path;
  for (std::size_t layer = 0; layer < convs_.size(); ++layer) path.push_back("conv" + std::to_string(layer));
  return path;
}

torch::Tensor CNNImpl::forward(const torch::Tensor& input) {
  const auto blocks = static_cast<std::size_t>(options.blocks);
  auto x = input;
  for (std::size_t layer = 0; layer < convs_.size(); ++layer) {
    if (layer > 0 && layer % blocks == 0) x = torch::max_pool2d(x, 2);
    x = activations_[layer].forward(apply_norm(norms_[layer], convs_[layer]->forward(x)));
  }
  return output_->forward(torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
}

}  // namespace anact::models
