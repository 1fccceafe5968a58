// Batches for training: augmented, standardized, made by background threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/augmentation.h"
#include "data/dataset.h"

namespace anact::data {

struct LoaderOptions {
  std::int64_t batch_size = 64;
  int workers = 1;   // background threads; with 0 a batch is made when it is asked for
  int prefetch = 4;  // batches made ahead, at least 1
  Augmentation augmentation = {};
  bool channels_last = false;  // inputs are samples x height x width x channels in memory
  // Inputs are `scale` times the standardized pixels, plus `shift`.
  double scale = 1;
  double shift = 0;
};

// What one step takes. The memory is the loader's, until the next call of next() or start().
struct Batch {
  // float32: each pixel minus its channel's mean over the training images, divided by the deviation; then by the
  // options' scale and shift. 64-byte aligned.
  std::span<const float> inputs;
  std::span<const std::int64_t> labels;
  // The labels of the samples that mixup or cutmix mixed in; empty when this batch is not mixed.
  std::span<const std::int64_t> mixed_labels;
  double weight = 1;  // of `labels` in the loss; mixed_labels have 1 - weight

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
};

// Makes the batches of one split of a data set. What a batch holds depends on (seed, epoch, the order, its index) and
// the options alone: not on the number of workers, nor on the batches made before it. One thread may call it.
class Loader {
 public:
  // `samples` must be one of the dataset's. Throws std::invalid_argument for options that cannot be, naming the option.
  Loader(Dataset dataset, const Samples& samples, LoaderOptions options);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();

  // Begins an epoch over the samples of these indices, in this order; the last batch may be smaller. `first_batch`
  // batches are passed over, for a run that goes on within an epoch. An epoch under way is given up.
  void start(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t> order, std::int64_t first_batch = 0);

  // The next batch, null at the end. Throws what a worker threw: std::out_of_range where `order` names no sample.
  const Batch* next();

  // How long next() has waited for batches, since the loader was made; without workers, how long it took to make them.
  [[nodiscard]] double seconds_waited() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace anact::data
