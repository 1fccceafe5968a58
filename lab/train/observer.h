// What a training tells whoever watches it.
#pragma once

#include <torch/nn/module.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace anact::train {

// Where a training stands.
struct Progress {
  std::size_t run = 0;  // counted from 0
  std::size_t runs = 0;
  std::string arm = {};
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

class Observer {
 public:
  virtual ~Observer() = default;
  // Before the run's first step; the network lives until the run ends.
  virtual void run_started(const torch::nn::Module& /*network*/, const Progress& /*progress*/) {}
  // After each of the optimizer's steps.
  virtual void step(const Progress& progress) = 0;
  // `line` is the epoch's line of log.txt, `seconds` how long its training took.
  virtual void epoch_ended(const std::string& line, double seconds) = 0;
  virtual void run_ended(const Progress& progress, const RunResult& result) = 0;
};

}  // namespace anact::train
