#include "nn/prediction.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>
#include <variant>

namespace anact::nn {
namespace {

// Why what was measured of the layer is not predicted as well. `followed`: its gradient by known operators to where the
// walk back begins.
void explain(const Prediction::Layer& layer, bool has_gradient, bool followed) {
  LayerRecord& record = *layer.record;
  const auto add = [&](const std::string& what, const std::string& why) {
    record.unpredicted += (record.unpredicted.empty() ? "" : "; ") + what + ": " + why;
  };
  const auto second_moment = [&](double predicted, const std::string& what) {
    if (std::isfinite(predicted)) return;
    const double input = record.input.second_moment;
    add(what, layer.empty             ? "the input is empty"
              : !std::isfinite(input) ? "the input is not finite"
              : input == 0            ? "the input is 0, which tells no gain"
                                      : "the theory arrives at no finite number");
  };
  second_moment(record.predicted_second_moment, "second moment");
  if (std::isfinite(record.predicted_second_moment)) {
    second_moment(record.gaussian_second_moment, "Gaussian second moment");
  }
  if (!(record.input_gradient.second_moment >= 0)) return;
  if (std::isfinite(record.predicted_gradient) && std::isfinite(record.gaussian_gradient)) return;
  add(std::isfinite(record.predicted_gradient) ? "Gaussian gradient" : "gradient",
      !has_gradient ? "no layer has a finite one to begin from"
      : !followed   ? "the theory does not follow all of it to the last layer"
                    : "the theory arrives at no finite number");
}

}  // namespace

std::optional<std::size_t> Prediction::origin(const at::Tensor& tensor) {
  const auto* found = origins_.find(tensor);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

std::size_t Prediction::note_use(const at::Tensor& tensor) {
  if (const auto* found = uses_of_.find(tensor)) return *found;
  uses_.push_back(false);
  return uses_of_.set(tensor, uses_.size() - 1);
}

std::size_t Prediction::begin(const at::Tensor& tensor, double second_moment) {
  const MeasuredMap begin{.forward = second_moment, .backward = 0};
  const auto* use = uses_of_.find(tensor);
  return add(tensor,
             {.inputs = {kNetworkInput}, .measured = begin, .gaussian = begin, .leaks = use != nullptr && uses_[*use]});
}

std::size_t Prediction::add(const at::Tensor& output, Node node) {
  const auto index = nodes_.size();
  std::vector<std::size_t> roots;
  if (node.inputs.front() == kNetworkInput || std::holds_alternative<LinearMap>(node.measured)) {
    roots.push_back(index);
  } else {
    for (const auto input : node.inputs) {
      std::vector<std::size_t> both;
      std::ranges::set_union(roots, roots_[input], std::back_inserter(both));
      roots = std::move(both);
    }
  }
  roots_.push_back(std::move(roots));
  nodes_.push_back(std::move(node));
  return origins_.set(output, index);
}

bool Prediction::correlated(std::size_t left, std::size_t right) const {
  return std::ranges::any_of(roots_[left],
                             [&](std::size_t root) { return std::ranges::binary_search(roots_[right], root); });
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
  if (nodes_.empty()) return;
  // The gradient is followed back from the last layer that has one: from what was measured at its output.
  const Layer* last = nullptr;
  for (const Layer& layer : layers) {
    if (std::isfinite(layer.record->output_gradient.second_moment) && (last == nullptr || layer.node > last->node)) {
      last = &layer;
    }
  }
  const std::size_t end = last == nullptr ? 0 : last->node + 1;
  const auto told = last == nullptr ? std::vector<bool>() : told_gradients(layers, last->node);
  // Of the first `count` nodes. Each source has its own second moment, of what enters a network of 1.
  const auto walk = [&](const auto& map, std::size_t count, double seed) {
    std::vector<PropagationNode> network;
    for (std::size_t i = 0; i < count; ++i)
      network.push_back({nodes_[i].inputs, map(nodes_[i]), nodes_[i].measured_input});
    return propagate_anew(network, 1, seed);
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
    for (const Layer& layer : layers) layer.record->*column = result[layer.node].second_moment;
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
  for (const Layer& layer : layers) {
    const bool followed = layer.node < end && told[nodes_[layer.node].inputs.front()];
    explain(layer, last != nullptr, followed);
  }
}

}  // namespace anact::nn
