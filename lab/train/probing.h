// The variance probe in trainings: on a run's steps, and on its layers after each epoch.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "anact/nn.h"
#include "anact/probe.h"
#include "models/network.h"
#include "train/observer.h"

namespace anact::train {

// Puts a probe on the network of every run, and tells another observer all that it is told.
class ProbingObserver : public Observer {
 public:
  // What a run's probe recorded, when the run has ended.
  using Take = std::function<void(const RunResult& result, std::vector<LayerRecord> records)>;

  ProbingObserver(Observer& next, const nn::VarianceProbeOptions& options, Take take);

  void run_started(const torch::nn::Module& network, const Progress& progress) override;
  void step(const Progress& progress) override;
  void epoch_ended(const std::string& line, double seconds) override;
  void run_ended(const Progress& progress, const RunResult& result) override;

  // The records of a run that was interrupted.
  [[nodiscard]] std::vector<LayerRecord> take_interrupted();

 private:
  Observer& next_;
  nn::VarianceProbeOptions options_;
  Take take_;
  std::unique_ptr<nn::VarianceProbe> probe_;
};

// The ANAct modules of a network, first layer first.
[[nodiscard]] std::vector<const nn::ANActImpl*> anact_modules(const torch::nn::Module& network);

// The members of a `layers` event (docs/run-folder.md) that describe the network as it is, in training mode, on these
// inputs and labels. The network is left as it was. Throws std::logic_error when a probe is measuring already.
[[nodiscard]] nlohmann::json measure_layers(models::Network& network, const torch::Tensor& inputs,
                                            const torch::Tensor& labels);

}  // namespace anact::train
