// The variance probe: how activations and gradients grow, layer by layer, in a network as it trains.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "anact/layer_record.h"

namespace anact::nn {

struct VarianceProbeOptions {
  // Of a layer, by the name of its row and its activation, empty for another kind.
  using Choice = std::function<bool(const std::string& name, const std::string& activation)>;

  // Steps 0, every, 2 every, … are measured; at least 1.
  TORCH_ARG(std::int64_t, every) = 1;
  // Whether the theory's predictions are computed.
  TORCH_ARG(bool, predict) = true;
  // Which layers are measured; none: all. Behind one that is not, predictions begin anew.
  TORCH_ARG(Choice, choose);
};

// Measures every layer of a model in chosen training steps. The model needs no change and gets none:
//
//     anact::nn::VarianceProbe probe(*model, anact::nn::VarianceProbeOptions().every(50));
//     for (auto& batch : loader) {
//       optimizer.zero_grad();
//       loss(model->forward(batch.data), batch.target).backward();
//       optimizer.step();
//       probe.step();
//     }
//     for (const auto& record : probe.records()) …
//
// Layers are what the dispatcher runs on the thread that made the probe while a measured step lasts: linear layers,
// convolutions, batch norms, ANActs and the plain activations of the catalogue, called as modules or as functions.
//
//   - Forward passes without gradients (NoGradGuard, inference mode) are not measured, so evaluating between steps does
//     no harm. The same goes for what runs within a backward pass, as checkpointing does.
//   - A layer that runs several times between two backward passes has a row for each: "name", "name#2", …
//   - The passes of gradient accumulation, a forward and a backward one each, are merged into the same rows; the
//     predictions are the first one's.
//   - An ANAct of a user's own activation is seen in training; of it only what was measured is predicted with. Layers
//     inside of compiled or scripted graphs are not seen.
//
// A weighted layer is named by its weight's path, an ANAct by its own. A plain activation without a module that says so
// is named by the layer before it, "linear3/silu".
//
// Predictions follow the theory from layer to layer through pooling, reshaping and sums of what they follow. After any
// other operator, and where what entered was empty, zero or not finite, they begin anew from what was measured of the
// next layer's input; where there is none, LayerRecord::unpredicted says why. Gradients are followed back from the
// output of the last layer that has one; a layer whose output also goes where the theory does not reach, and all layers
// before it, have no prediction of theirs. Slopes and gradients are taken to be uncorrelated: where the samples' norms
// differ much, as deep SiLU makes them, what is predicted of the gradient is too small.
//
// Sums are carried on in double precision, and are the same for every number of threads. Nothing is installed between
// measured steps. One probe at a time may be measuring on a thread. Not thread-safe.
class VarianceProbe {
 public:
  // The first step begins here. Throws std::invalid_argument for `every` below 1, and std::logic_error when another
  // probe is measuring on this thread.
  explicit VarianceProbe(const torch::nn::Module& model, const VarianceProbeOptions& options = {});
  // For a model that is no torch::nn::Module of C++: its parameters by their paths.
  explicit VarianceProbe(std::vector<std::pair<std::string, torch::Tensor>> named_parameters,
                         const VarianceProbeOptions& options = {});
  VarianceProbe(const VarianceProbe&) = delete;
  VarianceProbe& operator=(const VarianceProbe&) = delete;
  // Removes what it installed. A step that was not ended is not recorded.
  ~VarianceProbe();

  // Ends a training step, after the optimizer's, and begins the next one. Throws std::logic_error when the next step is
  // to be measured and another probe is measuring on this thread.
  void step();

  // Ends the step as step() does, without beginning another; nothing when none is going on. A later step() begins the
  // next one.
  void finish();

  // Whether the step that is going on is measured.
  [[nodiscard]] bool measures() const;

  // Those of all measured steps that ended, by step, then by layer.
  [[nodiscard]] const std::vector<LayerRecord>& records() const;
  // Hands them over; the probe forgets them.
  [[nodiscard]] std::vector<LayerRecord> take_records();

  // What runs between enter and leave is named `name`, unless a weight or an ANAct tells more: for callers that know
  // which module runs, such as hooks. They nest.
  void enter(const std::string& name);
  void leave();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace anact::nn
