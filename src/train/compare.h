// Trains one network under several arms over several seeds, and writes a run folder (docs/run-folder.md).
//
// Runs are paired: for one seed, all arms start from the same draws from N(0, 1), scaled by their own initialization,
// and see the same samples in the same order.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/arm.h"

namespace anact::train {

struct CompareOptions {
  std::string preset = "digits";
  std::vector<Arm> arms;
  std::int64_t depth = 20;
  std::int64_t width = 128;
  std::int64_t epochs = 12;
  std::int64_t batch_size = 64;
  double learning_rate = 0.001;
  double momentum = 0.9;
  double weight_decay = 0;
  std::int64_t seeds = 3;
  std::int64_t first_seed = 0;
  std::vector<std::string> arguments;  // how the program was called, for config.json
};

// The arms of the preset "digits".
[[nodiscard]] const std::vector<std::string>& default_arms();

// Throws std::invalid_argument that names the number and its range.
void validate(const CompareOptions& options);

// Where a comparison stands.
struct Progress {
  std::size_t run = 0;  // counted from 0
  std::size_t runs = 0;
  std::string arm;
  std::int64_t seed = 0;
  std::int64_t epoch = 0;  // counted from 1
  std::int64_t epochs = 0;
  std::int64_t step = 0;  // of the run, counted from 1
  std::int64_t steps = 0;
  double loss = 0;           // training loss of the last batch
  double test_accuracy = 0;  // after the last finished epoch, before the first epoch untrained
};

// What a run came to.
struct RunResult {
  std::string arm;
  std::int64_t seed = 0;
  bool diverged = false;
  std::string divergence;  // where and why
  double test_accuracy = 0;
  double test_loss = 0;
  double seconds = 0;
};

class CompareObserver {
 public:
  virtual ~CompareObserver() = default;
  virtual void step(const Progress& progress) = 0;
  virtual void run_ended(const Progress& progress, const RunResult& result) = 0;
};

// Runs the comparison into `folder`, which must exist and be empty. Returns whether it ended whole: false when `stop`
// became true, which leaves a folder that says it is partial. Throws std::runtime_error when the folder cannot be
// written; the folder then says that it is partial as far as the disk allows.
[[nodiscard]] bool compare(const CompareOptions& options, const data::Dataset& dataset,
                           const std::filesystem::path& folder, CompareObserver& observer,
                           const std::atomic<bool>& stop);

}  // namespace anact::train
