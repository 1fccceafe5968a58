#include "train/probing.h"

#include <utility>

namespace anact::train {

ProbingObserver::ProbingObserver(Observer& next, const nn::VarianceProbeOptions& options, Take take)
    : next_(next), options_(options), take_(std::move(take)) {}

void ProbingObserver::run_started(const torch::nn::Module& network, const Progress& progress) {
  probe_ = std::make_unique<nn::VarianceProbe>(network, options_);
  next_.run_started(network, progress);
}

void ProbingObserver::step(const Progress& progress) {
  probe_->step();
  next_.step(progress);
}

void ProbingObserver::epoch_ended(const std::string& line, double seconds) { next_.epoch_ended(line, seconds); }

void ProbingObserver::run_ended(const Progress& progress, const RunResult& result) {
  auto records = probe_->take_records();
  probe_.reset();
  take_(result, std::move(records));
  next_.run_ended(progress, result);
}

std::vector<LayerRecord> ProbingObserver::take_interrupted() {
  auto records = probe_ ? probe_->take_records() : std::vector<LayerRecord>();
  probe_.reset();
  return records;
}

}  // namespace anact::train
