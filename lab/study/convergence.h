// The convergence study: does the rate of convergence go with the normalization property?
//
// One network is trained under many arms whose property differs by construction. For each run two kinds of distance
// are measured, and how fast the training loss fell.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "anact/layer_record.h"
#include "data/dataset.h"
#include "train/config.h"
#include "train/experiment.h"
#include "train/observer.h"

namespace anact::study {

// How far a run was from the property: means of |log|, over the layers of each measured step, then over the steps.
struct Distance {
  double forward_property = kNotMeasured;   // |log lambda^2 rho|, over activations
  double backward_property = kNotMeasured;  // |log lambda^2 rho'|
  // From one weighted layer to the next, weights and all; the property of the whole layer (docs/math.md, section 10).
  double forward_growth = kNotMeasured;   // |log| of the ratio of the outputs' second moments
  double backward_growth = kNotMeasured;  // |log| of the ratio of the gradients' with respect to the outputs
};

// What is not finite or 0 (a dead layer, a step that exploded) is left out; not measured when nothing is left.
[[nodiscard]] Distance distance_of(std::span<const LayerRecord> records);

// The arms of the study unless the user names some: activations x (plain He, plain LeCun, fixed gain; ANAct as it is by
// default, with the target 1, and the paper's with either gain), and the references.
[[nodiscard]] std::vector<std::string> convergence_arms();

struct ConvergenceOptions {
  std::int64_t every = 10;                         // one step in so many is measured
  std::vector<double> thresholds{25, 50, 75, 90};  // training accuracies in percent whose epochs are counted
};

// Trains every arm and seed of the configuration into `folder`, a run folder, and writes `runs.csv` there: a row a run.
// loss_area is the mean over the epochs of the training loss; the epochs that a diverged run did not reach count as
// untrained, log(classes). Returns and throws as train::train does; an interrupted study has no runs.csv.
[[nodiscard]] bool run_convergence(const train::Config& config, const ConvergenceOptions& options,
                                   const train::Invocation& invocation, const data::Dataset& dataset,
                                   const std::filesystem::path& folder, train::Observer& observer,
                                   const std::atomic<bool>& stop);

}  // namespace anact::study
