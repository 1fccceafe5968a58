// A training that is watched by the variance probe.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "anact/probe.h"
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

}  // namespace anact::train
