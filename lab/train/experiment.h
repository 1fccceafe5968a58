// Trains one network under several arms over several seeds, and writes a run folder (docs/run-folder.md).
//
// Runs are paired: for one seed, all arms start from the same draws from N(0, 1), scaled by their own initialization,
// and see the same samples, changed by the same augmentation, in the same order.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/config.h"
#include "train/observer.h"

namespace anact::train {

// How the program was called, for config.json.
struct Invocation {
  std::string command = "train";
  std::vector<std::string> arguments;
};

// The set that the configuration names, as far as it wants its samples. Throws as data::open does.
[[nodiscard]] data::Dataset open_dataset(const Config& config,
                                         const std::function<void(std::int64_t, std::int64_t)>& progress = {});

// Does what can fail before the first step, for each arm and the first seed: builds the network, with the weights to
// begin from, makes the first batch, and goes forward and back with it. Throws std::invalid_argument when an arm's
// network or the augmentation does not fit the data; std::runtime_error when the memory does not suffice, and as
// models::load_weights does.
void rehearse(const Config& config, const data::Dataset& dataset);

// Trains into `folder`, which must exist and hold no run. Returns whether all runs ended: false when `stop` became
// true, which leaves a folder that says it is partial. Throws std::invalid_argument for what validate() refuses, before
// the folder is touched; std::runtime_error when the folder cannot be written, the memory does not suffice or the
// network does not fit the data; the folder then says that it is partial as far as the disk allows.
[[nodiscard]] bool train(const Config& config, const Invocation& invocation, const data::Dataset& dataset,
                         const std::filesystem::path& folder, Observer& observer, const std::atomic<bool>& stop);

// The configuration of a training that was begun in `folder`. Throws std::runtime_error when there is none.
[[nodiscard]] Config load_config(const std::filesystem::path& folder);

// Goes on with a training that was stopped or killed, from its last checkpoint; a run without one begins again. On the
// same machine with as many threads it ends with the same bits as one that was never stopped. Returns and throws as
// train() does, and std::runtime_error when the folder is damaged, when its settings or the data have changed, and when
// the training is complete; nothing has been changed then.
[[nodiscard]] bool resume(const data::Dataset& dataset, const std::filesystem::path& folder, Observer& observer,
                          const std::atomic<bool>& stop);

}  // namespace anact::train
