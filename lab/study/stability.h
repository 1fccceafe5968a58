// The stability study: how large a learning rate each arm bears, at several depths.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/config.h"
#include "train/experiment.h"
#include "train/observer.h"

namespace anact::study {

// The arms of the study unless the user names some: plain activations, ANAct as it is by default, with one choice
// changed at a time, and as in the paper.
[[nodiscard]] std::vector<std::string> stability_arms();

struct StabilityOptions {
  std::vector<std::int64_t> depths{20, 40, 100};
  std::vector<double> learning_rates{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03};
};

// Trains every arm at every depth (of the network `mlp`) and learning rate, each depth into a run folder of its own
// below `folder`, and writes `runs.csv` there: a row a run. Returns and throws as train::train does, and
// std::invalid_argument for another network and for an arm with a learning rate of its own; an interrupted study has no
// runs.csv.
[[nodiscard]] bool run_stability(const train::Config& config, const StabilityOptions& options,
                                 const train::Invocation& invocation, const data::Dataset& dataset,
                                 const std::filesystem::path& folder, train::Observer& observer,
                                 const std::atomic<bool>& stop);

}  // namespace anact::study
