// One arm trained with one seed.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data/loader.h"
#include "io/event_file.h"
#include "models/catalogue.h"
#include "train/arm.h"
#include "train/batches.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/observer.h"
#include "train/optimizer.h"
#include "train/run_folder.h"
#include "train/schedule.h"

namespace anact::train {

// What the runs of one training share.
struct RunContext {
  const Config& config;
  const data::Dataset& dataset;
  const std::filesystem::path& folder;
  Observer& observer;
  const std::atomic<bool>& stop;
};

class Run {
 public:
  // The run before its first step. `progress` says which of how many runs it is. Throws std::invalid_argument when the
  // network cannot be built for the data, and as models::load_weights does.
  Run(const RunContext& context, const Arm& arm, std::int64_t seed, std::size_t arm_index, Progress progress);

  // The first batch forward and back, for what fails in it. The run is of no use after that.
  void rehearse();

  // Goes on from the latest checkpoint in the folder, if there is one: then what the growing files held at that time.
  // Throws as load_checkpoint does, and std::runtime_error when it is of other settings or data.
  [[nodiscard]] std::optional<Sizes> resume();

  // Trains to the end. False when stopped from outside, which leaves a checkpoint unless the configuration wants none.
  [[nodiscard]] bool train(RunFolder& out);

 private:
  using Clock = std::chrono::steady_clock;

  struct Evaluation {
    double loss = 0;
    double accuracy = 0;
    double top5 = 0;
  };

  [[nodiscard]] nlohmann::json event(const char* kind, const nlohmann::json& members) const;
  void scalar(std::string_view tag, std::int64_t step, double value);
  void diverge(std::int64_t epoch, const std::string& reason);
  // False when the epoch was broken off: by a divergence, or from outside.
  [[nodiscard]] bool train_epoch(std::int64_t epoch);
  // Starts the loader on an epoch's batches, after the first so many.
  void start_epoch(std::int64_t epoch, std::int64_t batches);
  void train_step(const Tensors& batch);
  void log_step(std::int64_t epoch);
  [[nodiscard]] Evaluation evaluate(data::Loader& loader, const data::Samples& samples);
  // The labels as they are in the epoch under way, or the one that ended last.
  [[nodiscard]] torch::Tensor labels_of(const torch::Tensor& labels) const;
  void record_epoch(std::int64_t epoch);
  void save_weights(const char* name) const;
  void save_checkpoint();
  [[nodiscard]] bool wants_checkpoints() const;
  [[nodiscard]] bool reached_steps() const;
  [[nodiscard]] double learning_rate(std::int64_t step) const { return schedule_.rate(step); }

  RunContext context_;
  const Config& config_;
  Arm arm_;
  std::int64_t seed_;
  std::string label_;   // the run's name, fit for a file
  std::string origin_;  // as RunState::origin
  Progress progress_;
  torch::Device device_;
  std::shared_ptr<models::Network> network_;
  std::unique_ptr<Optimizer> optimizer_;
  data::Loader training_;
  data::Loader validation_;
  data::Loader test_;
  std::int64_t samples_;  // of an epoch
  Schedule schedule_;
  std::optional<Tensors> layer_samples_;
  RunState state_;
  bool resumed_ = false;
  Evaluation evaluation_;
  std::string divergence_;
  RunFolder* out_ = nullptr;  // while training
  std::unique_ptr<io::EventFile> events_;
  Clock::time_point checkpoint_time_ = Clock::now();
};

}  // namespace anact::train
