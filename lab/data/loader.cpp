#include "data/loader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace anact::data {
namespace {

constexpr std::int64_t kMostThreads = 1024;
constexpr std::int64_t kMostBatches = 1024;

struct alignas(64) Line {
  std::array<float, 16> values;
};

// A batch and the memory that it refers to.
struct Slot {
  Batch batch;
  std::exception_ptr error;
  bool ready = false;
  std::vector<Line> inputs;
  std::vector<std::int64_t> labels;
  std::vector<std::int64_t> mixed_labels;
  std::vector<std::uint8_t> images;  // after augmentation, before standardization
};

// What each value of a channel's pixels becomes.
using Table = std::array<float, 256>;

}  // namespace

class Loader::Implementation {
 public:
  Implementation(Dataset dataset, const Samples& samples, LoaderOptions options);
  ~Implementation();

  void start(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t> order, std::int64_t first_batch);
  const Batch* next();

  double seconds_waited = 0;

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] Slot& slot(std::int64_t batch) { return slots_[static_cast<std::size_t>(batch) % slots_.size()]; }

  void work();
  // Tells the workers to return.
  void end();
  // Gives up halfway when start() has been called since `generation`.
  void make(std::int64_t batch, Slot& slot, std::uint64_t generation) const;
  void standardize(const std::uint8_t* image, float* output) const;
  void mix(const Mix& mix, Slot& slot, std::int64_t size) const;

  const Dataset dataset_;  // keeps the samples' memory
  const Samples samples_;
  const LoaderOptions options_;
  const std::vector<std::uint8_t> colour_;
  std::vector<Table> tables_;

  // Written by start() alone, while no worker is busy.
  std::uint64_t seed_ = 0;
  std::uint64_t epoch_ = 0;
  std::vector<std::int64_t> order_;
  std::int64_t batches_ = 0;
  std::vector<Slot> slots_;  // batch i is made in slot i modulo their number

  // Of the consumer's thread alone.
  std::int64_t position_ = 0;  // the batch that next() gives
  bool holds_ = false;         // the one before it is still in use

  std::mutex mutex_;
  std::condition_variable work_;               // for workers: there may be a batch to make
  std::condition_variable ready_;              // for the consumer: a batch is made or a worker is idle
  std::atomic<std::uint64_t> generation_ = 0;  // counts the calls of start()
  std::int64_t claimed_ = 0;                   // the next batch to be made
  std::int64_t released_ = 0;                  // batches before this one are no longer in use
  int busy_ = 0;
  bool ending_ = false;
  std::vector<std::jthread> workers_;  // last: they end before what they use
};

Loader::Implementation::Implementation(Dataset dataset, const Samples& samples, LoaderOptions options)
    : dataset_(std::move(dataset)), samples_(samples), options_(options), colour_(mean_colour(dataset_)) {
  const auto check = [](const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value >= low && value <= high) return;
    throw std::invalid_argument(std::string(name) + ": " + std::to_string(value) + "; expected " + std::to_string(low) +
                                (high == INT64_MAX ? " or more" : "…" + std::to_string(high)));
  };
  check("batch_size", options_.batch_size, 1, INT64_MAX);
  check("workers", options_.workers, 0, kMostThreads);
  check("prefetch", options_.prefetch, 1, kMostBatches);
  validate(options_.augmentation, dataset_.shape);
  const auto channels = static_cast<std::size_t>(dataset_.shape.channels);
  const auto values = static_cast<std::size_t>(dataset_.shape.values());
  const auto images = values > 0 ? samples_.pixels.size() / values : 0;
  const bool there = samples_.images.empty() ? images == samples_.labels.size()
                                             : samples_.images.size() == samples_.labels.size() &&
                                                   std::ranges::all_of(samples_.images, [&](std::int64_t image) {
                                                     return image >= 0 && static_cast<std::size_t>(image) < images;
                                                   });
  if (dataset_.mean.size() != channels || dataset_.deviation.size() != channels ||
      samples_.pixels.size() != images * values || !there) {
    throw std::invalid_argument("samples: they are not of the shape of the data set " + dataset_.name);
  }
  tables_.resize(channels);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const auto mean = static_cast<float>(dataset_.mean[channel]);
    // A channel that never changes is only shifted.
    const auto deviation = dataset_.deviation[channel] > 0 ? static_cast<float>(dataset_.deviation[channel]) : 1.0f;
    for (std::size_t value = 0; value < 256; ++value) {
      const auto standardized = (static_cast<float>(value) - mean) / deviation;
      tables_[channel][value] = static_cast<float>(options_.scale) * standardized + static_cast<float>(options_.shift);
    }
  }
  // One is in use while the others are made.
  slots_.resize(options_.workers == 0 ? 1 : static_cast<std::size_t>(options_.prefetch) + 1);
  try {
    for (int i = 0; i < options_.workers; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    end();
    throw std::runtime_error("cannot start worker " + std::to_string(workers_.size() + 1) + " of " +
                             std::to_string(options_.workers) + ": " + error.code().message());
  }
}

Loader::Implementation::~Implementation() { end(); }

void Loader::Implementation::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    ++generation_;
  }
  work_.notify_all();
}

void Loader::Implementation::start(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t> order,
                                   std::int64_t first_batch) {
  if (first_batch < 0)
    throw std::invalid_argument("first_batch: " + std::to_string(first_batch) + "; expected 0 or more");
  std::unique_lock lock(mutex_);
  ++generation_;
  claimed_ = batches_;  // nothing is left to claim
  ready_.wait(lock, [this] { return busy_ == 0; });
  batches_ = position_ = claimed_ = released_ = 0;
  holds_ = false;
  seed_ = seed;
  epoch_ = epoch;
  order_ = std::move(order);
  const auto samples = static_cast<std::int64_t>(order_.size());
  const auto largest = static_cast<std::size_t>(std::min(samples, options_.batch_size));
  const auto values = largest * static_cast<std::size_t>(dataset_.shape.values());
  for (auto& slot : slots_) {
    slot.ready = false;
    slot.error = nullptr;
    slot.inputs.resize(std::max(slot.inputs.size(), (values + 15) / 16));
    slot.images.resize(std::max(slot.images.size(), values));
    slot.labels.resize(std::max(slot.labels.size(), largest));
    slot.mixed_labels.resize(std::max(slot.mixed_labels.size(), largest));
  }
  batches_ = samples == 0 ? 0 : (samples - 1) / options_.batch_size + 1;
  position_ = claimed_ = released_ = std::min(first_batch, batches_);
  lock.unlock();
  work_.notify_all();
}

const Batch* Loader::Implementation::next() {
  const auto begin = Clock::now();
  std::unique_lock lock(mutex_);
  if (std::exchange(holds_, false)) {
    slot(released_).ready = false;
    ++released_;
    work_.notify_one();
  }
  if (position_ == batches_) return nullptr;
  auto& wanted = slot(position_);
  if (workers_.empty()) {
    make(position_, wanted, generation_);
  } else if (!wanted.ready) {
    ready_.wait(lock, [&] { return wanted.ready; });
  }
  seconds_waited += std::chrono::duration<double>(Clock::now() - begin).count();
  if (wanted.error) std::rethrow_exception(wanted.error);
  ++position_;
  holds_ = true;
  return &wanted.batch;
}

void Loader::Implementation::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] {
      return ending_ || (claimed_ < batches_ && claimed_ < released_ + static_cast<std::int64_t>(slots_.size()));
    });
    if (ending_) return;
    const auto batch = claimed_++;
    const std::uint64_t generation = generation_;
    auto& mine = slot(batch);
    ++busy_;
    lock.unlock();
    std::exception_ptr error;
    try {
      make(batch, mine, generation);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --busy_;
    // What start() gave up is nobody's; it waits until no worker writes into a slot.
    if (generation == generation_) {
      mine.error = error;
      mine.ready = true;
    }
    ready_.notify_one();
  }
}

void Loader::Implementation::make(std::int64_t batch, Slot& slot, std::uint64_t generation) const {
  const auto& shape = dataset_.shape;
  const auto values = shape.values();
  const auto begin = batch * options_.batch_size;
  const auto size = std::min(options_.batch_size, static_cast<std::int64_t>(order_.size()) - begin);
  auto* const inputs = slot.inputs.front().values.data();
  const auto mixing = draw_mix(options_.augmentation, shape, seed_, epoch_, batch, size);
  for (std::int64_t i = 0; i < size; ++i) {
    if (generation_.load(std::memory_order_relaxed) != generation) return;
    const auto index = order_[static_cast<std::size_t>(begin + i)];
    if (index < 0 || index >= samples_.size()) {
      throw std::out_of_range("sample " + std::to_string(index) + " of " + dataset_.name + ": there are " +
                              std::to_string(samples_.size()));
    }
    auto* const image = slot.images.data() + i * values;
    augment(options_.augmentation, shape, colour_, seed_, epoch_, index, samples_.image(index, shape).data(), image);
    slot.labels[static_cast<std::size_t>(i)] = samples_.labels[static_cast<std::size_t>(index)];
    if (!mixing) standardize(image, inputs + i * values);
  }
  if (mixing) mix(*mixing, slot, size);
  slot.batch.inputs = {inputs, static_cast<std::size_t>(size * values)};
  slot.batch.labels = {slot.labels.data(), static_cast<std::size_t>(size)};
  slot.batch.mixed_labels = {slot.mixed_labels.data(), static_cast<std::size_t>(mixing ? size : 0)};
  slot.batch.weight = mixing ? mixing->weight : 1;
}

void Loader::Implementation::standardize(const std::uint8_t* image, float* output) const {
  const auto channels = dataset_.shape.channels;
  const auto pixels = dataset_.shape.height * dataset_.shape.width;
  const auto step = options_.channels_last ? channels : 1;
  for (std::int64_t channel = 0; channel < channels; ++channel, image += pixels) {
    const auto& table = tables_[static_cast<std::size_t>(channel)];
    auto* const plane = output + (options_.channels_last ? channel : channel * pixels);
    for (std::int64_t i = 0; i < pixels; ++i) plane[i * step] = table[image[i]];
  }
}

void Loader::Implementation::mix(const Mix& mix, Slot& slot, std::int64_t size) const {
  const auto& shape = dataset_.shape;
  const auto values = shape.values();
  auto* const inputs = slot.inputs.front().values.data();
  std::vector<std::uint8_t> pasted(static_cast<std::size_t>(mix.pasted ? values : 0));
  std::vector<float> partners_values(static_cast<std::size_t>(mix.pasted ? 0 : values));
  for (std::int64_t i = 0; i < size; ++i) {
    const auto partner = mix.partners[static_cast<std::size_t>(i)];
    slot.mixed_labels[static_cast<std::size_t>(i)] = slot.labels[static_cast<std::size_t>(partner)];
    const auto* own_image = slot.images.data() + i * values;
    const auto* partners_image = slot.images.data() + partner * values;
    auto* const output = inputs + i * values;
    if (mix.pasted) {
      std::copy_n(own_image, values, pasted.begin());
      const auto& box = *mix.pasted;
      for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
        for (auto y = box.top; y < box.top + box.height; ++y) {
          const auto row = (channel * shape.height + y) * shape.width + box.left;
          std::copy_n(partners_image + row, box.width, pasted.begin() + row);
        }
      }
      standardize(pasted.data(), output);
    } else {
      const auto weight = static_cast<float>(mix.weight);
      standardize(own_image, output);
      standardize(partners_image, partners_values.data());
      for (std::int64_t j = 0; j < values; ++j) {
        output[j] = weight * output[j] + (1 - weight) * partners_values[static_cast<std::size_t>(j)];
      }
    }
  }
}

Loader::Loader(Dataset dataset, const Samples& samples, LoaderOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(dataset), samples, options)) {}

Loader::~Loader() = default;

void Loader::start(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t> order, std::int64_t first_batch) {
  implementation_->start(seed, epoch, std::move(order), first_batch);
}

const Batch* Loader::next() { return implementation_->next(); }

double Loader::seconds_waited() const { return implementation_->seconds_waited; }

}  // namespace anact::data
