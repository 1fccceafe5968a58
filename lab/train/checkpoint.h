// What a run needs to go on as if it had never stopped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "models/network.h"
#include "train/optimizer.h"
#include "train/run_folder.h"

namespace anact::train {

// Where a run stands, besides its tensors.
struct RunState {
  std::int64_t epoch = 0;  // finished
  std::int64_t batch = 0;  // finished in the epoch under way
  std::int64_t step = 0;   // finished in all
  // Sums over the epoch under way.
  double loss = 0;
  double correct = 0;
  std::int64_t samples = 0;
  double seconds = 0;
  double seconds_waited = 0;
  double best_accuracy = -1;  // on the test samples, after any epoch
  double run_seconds = 0;
  Sizes sizes = {};
  std::int64_t events = 0;  // bytes of the TensorBoard file
  std::string origin = {};  // a digest of the training's settings and data; empty in files of earlier versions
};

// A file of a run's state, atomically written: a safetensors file of the network's tensors (network.…), the counts of
// refused batches (skipped.…) and the optimizer's (optimizer.…), with `state` and the run's name in the metadata.
void save_checkpoint(const std::filesystem::path& path, const std::string& run, const RunState& state,
                     const models::Network& network, const Optimizer& optimizer);

// Fills network and optimizer from the file. Throws std::runtime_error that names the file when it is damaged or
// belongs to another run; nothing has been changed then.
[[nodiscard]] RunState load_checkpoint(const std::filesystem::path& path, const std::string& run,
                                       models::Network& network, Optimizer& optimizer);

// Fills the network from a file of weights, or from a checkpoint's. Throws as models::load_weights does.
void load_network(models::Network& network, const std::filesystem::path& path);

// folder/step-000000000123.safetensors.
[[nodiscard]] std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step);

// The checkpoint of the latest step in a folder; nothing when it has none or is not there.
[[nodiscard]] std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& folder);

// Removes all but the latest `keep` checkpoints of a folder.
void prune_checkpoints(const std::filesystem::path& folder, std::int64_t keep);

}  // namespace anact::train
