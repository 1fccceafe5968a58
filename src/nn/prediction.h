// What the theory predicts of a network's layers, while the network runs before the eyes of the variance probe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "anact/layer_record.h"
#include "anact/propagation.h"
#include "nn/tensor_map.h"

namespace anact::nn {

// The network as the theory sees it, by measured gains and by the Gaussian assumption.
class Prediction {
 public:
  struct Node {
    std::vector<std::size_t> inputs;
    PropagationNode::Map measured;
    PropagationNode::Map gaussian;
    // For a layer: what was measured of its input, from which the theory begins anew where it arrives at nothing.
    std::optional<double> measured_input = std::nullopt;
    // For a BatchNorm by measured gains: its backward one. What it emits does not depend on what enters.
    std::optional<MeasuredMap> measured_gradient = std::nullopt;
    // Something else than a known operator took what it made, and passes back a gradient that the theory cannot tell.
    bool leaks = false;
  };

  // A layer's record, and the node that made its output.
  struct Layer {
    std::size_t node;
    LayerRecord* record;
    bool empty;  // its input
  };

  // The node that made a tensor, if it is known.
  [[nodiscard]] std::optional<std::size_t> origin(const at::Tensor& tensor);

  // Notes that an operator takes a tensor that no node made, and which one it was for tell_use().
  [[nodiscard]] std::size_t note_use(const at::Tensor& tensor);
  // That operator passes back a gradient that the theory cannot tell.
  void tell_use(std::size_t use) { uses_[use] = true; }

  // A node that stands for what made a tensor of this second moment, as it was measured.
  std::size_t begin(const at::Tensor& tensor, double second_moment);

  // Whether the same values can be in what these two nodes make, with no weights between: no sum of uncorrelated parts.
  [[nodiscard]] bool correlated(std::size_t left, std::size_t right) const;

  // The node that made `output`.
  std::size_t add(const at::Tensor& output, Node node);

  // `output` is what `node` made.
  void pass_on(const at::Tensor& output, std::size_t node) { origins_.set(output, node); }

  [[nodiscard]] Node& node(std::size_t index) { return nodes_[index]; }

  // What tensors were made by is forgotten, the nodes are not.
  void forget_origins() {
    origins_.clear();
    uses_of_.clear();
  }

  // Fills in the predictions of the layers, whose measurements are there, or why there are none.
  void predict(const std::vector<Layer>& layers) const;

 private:
  [[nodiscard]] std::vector<bool> told_gradients(const std::vector<Layer>& layers, std::size_t last) const;

  std::vector<Node> nodes_;
  // For each node those that its values come from without weights between: a source, what weights made, itself.
  std::vector<std::vector<std::size_t>> roots_;
  TensorMap<std::size_t> origins_;
  TensorMap<std::size_t> uses_of_;
  std::vector<bool> uses_;
};

}  // namespace anact::nn
