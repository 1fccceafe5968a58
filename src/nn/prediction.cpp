#include "nn/prediction.h"

#include <cmath>
#include <stdexcept>
#include <utility>

namespace anact::nn {

std::optional<std::size_t> Prediction::origin(const at::Tensor& tensor) {
  const auto* found = origins_.find(tensor);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

std::size_t Prediction::begin(const at::Tensor& tensor, double second_moment) {
  if (!input_second_moment_) input_second_moment_ = second_moment;
  const MeasuredMap begin{.forward = *input_second_moment_ > 0 ? second_moment / *input_second_moment_ : 1,
                          .backward = 0};
  return add(tensor, {.inputs = {kNetworkInput}, .measured = begin, .gaussian = begin});
}

std::size_t Prediction::add(const at::Tensor& output, Node node) {
  nodes_.push_back(std::move(node));
  return origins_.set(output, nodes_.size() - 1);
}

// For each node up to `last`, whether the theory tells its gradient: all that takes what it makes leads to `last` by
// known operators.
std::vector<bool> Prediction::told_gradients(const std::vector<Layer>& layers, std::size_t last) const {
  std::vector<bool> reaches(nodes_.size(), false);
  std::vector<bool> incomplete(nodes_.size(), false);
  std::vector<bool> used(nodes_.size(), false);
  for (const Node& node : nodes_) {
    for (const auto input : node.inputs) {
      if (input != kNetworkInput) used[input] = true;
    }
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) incomplete[i] = nodes_[i].leaks || i > last;
  for (const Layer& layer : layers) {
    // A gradient came from where no operator was seen.
    if (!used[layer.node] && layer.record->output_gradient.second_moment > 0) incomplete[layer.node] = true;
  }
  incomplete[last] = false;
  reaches[last] = true;
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    for (const auto input : nodes_[i].inputs) {
      if (input == kNetworkInput || input == last) continue;
      if (reaches[i]) reaches[input] = true;
      if (incomplete[i]) incomplete[input] = true;
    }
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) reaches[i] = reaches[i] && !incomplete[i];
  return reaches;
}

void Prediction::predict(const std::vector<Layer>& layers) const {
  if (!input_second_moment_) return;
  // The gradient is followed back from the last layer that has one: from what was measured at its output.
  const Layer* last = nullptr;
  for (const Layer& layer : layers) {
    if (std::isfinite(layer.record->output_gradient.second_moment) && (last == nullptr || layer.node > last->node)) {
      last = &layer;
    }
  }
  const std::size_t end = last == nullptr ? 0 : last->node + 1;
  const auto told = last == nullptr ? std::vector<bool>() : told_gradients(layers, last->node);
  // Of the first `count` nodes. None for second moments that are not finite: there is nothing to predict.
  const auto walk = [&](const auto& map, std::size_t count, double seed) -> std::vector<Propagation> {
    std::vector<PropagationNode> network;
    for (std::size_t i = 0; i < count; ++i) network.push_back({nodes_[i].inputs, map(nodes_[i])});
    try {
      return propagate(network, *input_second_moment_, seed);
    } catch (const std::invalid_argument&) {
      return {};
    }
  };
  const auto fill_gradients = [&](const std::vector<Propagation>& result, double LayerRecord::*column) {
    for (const Layer& layer : layers) {
      if (layer.node >= result.size()) continue;
      const auto input = nodes_[layer.node].inputs.front();
      if (told[input] && layer.record->input_gradient.second_moment >= 0) {
        layer.record->*column = result[input].gradient;
      }
    }
  };
  const auto fill_second_moments = [&](const std::vector<Propagation>& result, double LayerRecord::*column) {
    for (const Layer& layer : layers) {
      if (layer.node < result.size()) layer.record->*column = result[layer.node].second_moment;
    }
  };
  const double seed = last == nullptr ? 0 : last->record->output_gradient.second_moment;
  const auto measured = [](const Node& node) { return node.measured; };
  const auto measured_gradient = [](const Node& node) {
    return node.measured_gradient ? PropagationNode::Map(*node.measured_gradient) : node.measured;
  };
  const auto gaussian = [](const Node& node) { return node.gaussian; };
  fill_second_moments(walk(measured, nodes_.size(), 0), &LayerRecord::predicted_second_moment);
  if (last != nullptr) fill_gradients(walk(measured_gradient, end, seed), &LayerRecord::predicted_gradient);
  // Most often the last node is that of the last layer: one walk does for both.
  auto normal = walk(gaussian, nodes_.size(), end == nodes_.size() ? seed : 0);
  fill_second_moments(normal, &LayerRecord::gaussian_second_moment);
  if (last != nullptr && end != nodes_.size()) normal = walk(gaussian, end, seed);
  if (last != nullptr) fill_gradients(normal, &LayerRecord::gaussian_gradient);
}

}  // namespace anact::nn
