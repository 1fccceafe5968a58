#include "data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace anact::data {
namespace {

struct Memory {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;
};

Dataset make_dataset(const Shape& shape, std::int64_t samples) {
  const auto memory = std::make_shared<Memory>();
  unsigned state = 1;
  for (std::int64_t i = 0; i < samples * shape.values(); ++i) {
    state = state * 1664525u + 1013904223u;
    memory->pixels.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  for (std::int64_t i = 0; i < samples; ++i) memory->labels.push_back(static_cast<std::int32_t>(i % 7));
  Dataset dataset;
  dataset.name = "made";
  dataset.shape = shape;
  dataset.class_names = {"a", "b", "c", "d", "e", "f", "g"};
  dataset.train = {memory->pixels, memory->labels};
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    dataset.mean.push_back(100.3 + 7.1 * static_cast<double>(channel));
    dataset.deviation.push_back(50.7 + static_cast<double>(channel));
  }
  dataset.storage = memory;
  return dataset;
}

std::vector<std::int64_t> shuffled(std::int64_t samples) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(samples));
  std::iota(order.begin(), order.end(), 0);
  unsigned state = 5;
  for (std::size_t i = order.size(); i > 1; --i) {
    state = state * 1664525u + 1013904223u;
    std::swap(order[i - 1], order[(state >> 8) % i]);
  }
  return order;
}

// A batch that outlives the loader's.
struct Copy {
  std::vector<float> inputs;
  std::vector<std::int64_t> labels;
  std::vector<std::int64_t> mixed_labels;
  double weight;

  bool operator==(const Copy&) const = default;
};

Copy copy(const Batch& batch) {
  return {{batch.inputs.begin(), batch.inputs.end()},
          {batch.labels.begin(), batch.labels.end()},
          {batch.mixed_labels.begin(), batch.mixed_labels.end()},
          batch.weight};
}

std::vector<Copy> rest_of(Loader& loader) {
  std::vector<Copy> batches;
  while (const auto* batch = loader.next()) batches.push_back(copy(*batch));
  return batches;
}

const Augmentation kEverything{
    .crop_padding = 2, .flip = true, .resized_crop = true, .erasing = 0.5, .mixup = 0.3, .cutmix = 1};

// What the batch must hold, sample by sample and pixel by pixel.
Copy expected(const Dataset& dataset, const LoaderOptions& options, std::uint64_t seed, std::uint64_t epoch,
              const std::vector<std::int64_t>& order, std::int64_t batch) {
  const auto& shape = dataset.shape;
  const auto values = static_cast<std::size_t>(shape.values());
  const auto begin = static_cast<std::size_t>(batch * options.batch_size);
  const auto size = std::min(static_cast<std::size_t>(options.batch_size), order.size() - begin);
  Copy result{std::vector<float>(size * values), {}, {}, 1};
  std::vector<std::vector<std::uint8_t>> images;
  for (std::size_t i = 0; i < size; ++i) {
    const auto index = order[begin + i];
    auto& image = images.emplace_back(values);
    augment(options.augmentation, shape, mean_colour(dataset), seed, epoch, index,
            dataset.train.pixels.data() + static_cast<std::size_t>(index) * values, image.data());
    result.labels.push_back(dataset.train.labels[static_cast<std::size_t>(index)]);
  }
  const auto mix = draw_mix(options.augmentation, shape, seed, epoch, batch, static_cast<std::int64_t>(size));
  if (mix) result.weight = mix->weight;
  for (std::size_t i = 0; i < size; ++i) {
    const auto partner = mix ? static_cast<std::size_t>(mix->partners[i]) : i;
    if (mix) result.mixed_labels.push_back(result.labels[partner]);
    for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
      const auto mean = static_cast<float>(dataset.mean[static_cast<std::size_t>(channel)]);
      const auto deviation = static_cast<float>(dataset.deviation[static_cast<std::size_t>(channel)]);
      for (std::int64_t y = 0; y < shape.height; ++y) {
        for (std::int64_t x = 0; x < shape.width; ++x) {
          const auto from = static_cast<std::size_t>((channel * shape.height + y) * shape.width + x);
          const auto to =
              options.channels_last ? static_cast<std::size_t>((y * shape.width + x) * shape.channels + channel) : from;
          const float own = (static_cast<float>(images[i][from]) - mean) / deviation;
          const float other = (static_cast<float>(images[partner][from]) - mean) / deviation;
          float value = own;
          if (mix && mix->pasted) {
            const auto& box = *mix->pasted;
            if (y >= box.top && y < box.top + box.height && x >= box.left && x < box.left + box.width) value = other;
          } else if (mix) {
            value = static_cast<float>(mix->weight) * own + (1 - static_cast<float>(mix->weight)) * other;
          }
          result.inputs[i * values + to] = value;
        }
      }
    }
  }
  return result;
}

TEST(Loader, MakesWhatTheDefinitionSays) {
  for (const auto& shape : {Shape{1, 3, 3}, Shape{3, 7, 5}, Shape{2, 4, 9}}) {
    const auto dataset = make_dataset(shape, 23);
    const auto order = shuffled(23);
    for (const auto& augmentation :
         {Augmentation{}, Augmentation{.crop_padding = 1, .flip = true}, Augmentation{.flip = true, .mixup = 0.5},
          Augmentation{.cutmix = 1}, kEverything}) {
      for (const bool channels_last : {false, true}) {
        const LoaderOptions options{.batch_size = 5, .augmentation = augmentation, .channels_last = channels_last};
        Loader loader(dataset, dataset.train, options);
        loader.start(11, 3, order);
        const auto batches = rest_of(loader);
        ASSERT_EQ(batches.size(), 5u);
        for (std::size_t i = 0; i < batches.size(); ++i) {
          const auto oracle = expected(dataset, options, 11, 3, order, static_cast<std::int64_t>(i));
          ASSERT_EQ(batches[i].inputs.size(), oracle.inputs.size());
          for (std::size_t j = 0; j < oracle.inputs.size(); ++j) {
            // Only a mixture may be rounded otherwise.
            ASSERT_NEAR(batches[i].inputs[j], oracle.inputs[j], augmentation.mixup > 0 ? 1e-6 : 0);
          }
          EXPECT_EQ(batches[i].labels, oracle.labels);
          EXPECT_EQ(batches[i].mixed_labels, oracle.mixed_labels);
          EXPECT_EQ(batches[i].weight, oracle.weight);
        }
        EXPECT_EQ(batches.back().labels.size(), 3u);
        EXPECT_EQ(loader.next(), nullptr);
      }
    }
  }
}

TEST(Loader, TheSameWhateverTheNumberOfWorkers) {
  const auto dataset = make_dataset({3, 9, 8}, 101);
  const auto order = shuffled(101);
  std::vector<Copy> first;
  for (const int workers : {0, 1, 2, 5}) {
    for (const int prefetch : {1, 2, 7, 100}) {
      Loader loader(dataset, dataset.train,
                    {.batch_size = 8, .workers = workers, .prefetch = prefetch, .augmentation = kEverything});
      for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
        loader.start(1, epoch, order);
        const auto batches = rest_of(loader);
        ASSERT_EQ(batches.size(), 13u);
        if (first.size() < 39) {
          first.insert(first.end(), batches.begin(), batches.end());
        } else {
          EXPECT_TRUE(
              std::equal(batches.begin(), batches.end(), first.begin() + static_cast<std::ptrdiff_t>(13 * epoch)))
              << workers << " workers, " << prefetch << " batches ahead";
        }
      }
    }
  }
  EXPECT_NE(first[0], first[13]) << "epochs must differ";
}

TEST(Loader, PassesOverTheFirstBatches) {
  const auto dataset = make_dataset({1, 4, 4}, 21);
  Loader loader(dataset, dataset.train, {.batch_size = 4, .workers = 2, .augmentation = kEverything});
  loader.start(1, 2, shuffled(21));
  const auto all = rest_of(loader);
  ASSERT_EQ(all.size(), 6u);
  for (std::int64_t first = 0; first <= 8; ++first) {
    loader.start(1, 2, shuffled(21), first);
    const auto some = rest_of(loader);
    EXPECT_EQ(some, std::vector<Copy>(all.begin() + std::min<std::int64_t>(first, 6), all.end()));
  }
  EXPECT_THROW(loader.start(1, 2, {}, -1), std::invalid_argument);
}

TEST(Loader, OrdersOfAnyLength) {
  const auto dataset = make_dataset({1, 2, 2}, 3);
  Loader loader(dataset, dataset.train, {.batch_size = 4, .workers = 2});
  EXPECT_EQ(loader.next(), nullptr);
  loader.start(0, 0, {});
  EXPECT_EQ(loader.next(), nullptr);
  // A larger epoch after a smaller one, with samples more than once.
  loader.start(0, 0, {2});
  EXPECT_EQ(rest_of(loader).front().labels, std::vector<std::int64_t>{2});
  loader.start(0, 0, {0, 1, 2, 0, 1, 2, 1});
  const auto batches = rest_of(loader);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].labels, (std::vector<std::int64_t>{0, 1, 2, 0}));
  EXPECT_EQ(batches[1].labels, (std::vector<std::int64_t>{1, 2, 1}));
  // A batch larger than the set takes no more memory than the set.
  Loader whole(dataset, dataset.train, {.batch_size = std::int64_t{1} << 60});
  whole.start(0, 0, {0, 1, 2});
  EXPECT_EQ(whole.next()->size(), 3);
  EXPECT_EQ(whole.next(), nullptr);
}

TEST(Loader, ABatchStaysUntilTheNext) {
  const auto dataset = make_dataset({3, 16, 16}, 60);
  Loader loader(dataset, dataset.train, {.batch_size = 3, .workers = 3, .prefetch = 1, .augmentation = kEverything});
  loader.start(0, 0, shuffled(60));
  while (const auto* batch = loader.next()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch->inputs.data()) % 64, 0u);
    const auto before = copy(*batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_EQ(copy(*batch), before);
  }
}

TEST(Loader, StartsAnewWithinAnEpoch) {
  const auto dataset = make_dataset({3, 24, 24}, 300);
  const LoaderOptions options{.batch_size = 50, .workers = 3, .prefetch = 2, .augmentation = kEverything};
  Loader calm(dataset, dataset.train, options);
  Loader hasty(dataset, dataset.train, options);
  for (std::uint64_t epoch = 0; epoch < 30; ++epoch) {
    hasty.start(9, epoch, shuffled(300));
    for (std::uint64_t i = 0; i < epoch % 4; ++i) ASSERT_NE(hasty.next(), nullptr);
  }
  hasty.start(9, 77, shuffled(300));
  calm.start(9, 77, shuffled(300));
  EXPECT_EQ(rest_of(hasty), rest_of(calm));
  // One is destroyed with batches under way.
  Loader left(dataset, dataset.train, options);
  left.start(9, 0, shuffled(300));
}

TEST(Loader, WhatAWorkerThrowsReachesNext) {
  const auto dataset = make_dataset({1, 4, 4}, 12);
  for (const int workers : {0, 1, 3}) {
    Loader loader(dataset, dataset.train, {.batch_size = 2, .workers = workers});
    for (const std::int64_t bad : {-1, 12}) {
      loader.start(0, 0, {0, 1, 2, bad, 4, 5, 6, 7});
      EXPECT_EQ(copy(*loader.next()).labels, (std::vector<std::int64_t>{0, 1}));
      for (int again = 0; again < 2; ++again) {
        try {
          (void)loader.next();
          FAIL() << "no error";
        } catch (const std::out_of_range& error) {
          EXPECT_EQ(error.what(), "sample " + std::to_string(bad) + " of made: there are 12");
        }
      }
      loader.start(0, 0, {3});
      EXPECT_EQ(rest_of(loader).front().labels, std::vector<std::int64_t>{3});
    }
  }
}

TEST(Loader, AChannelThatNeverChangesIsOnlyShifted) {
  auto dataset = make_dataset({1, 1, 2}, 1);
  dataset.mean = {3};
  dataset.deviation = {0};
  Loader loader(dataset, dataset.train, {});
  loader.start(0, 0, {0});
  const auto* batch = loader.next();
  EXPECT_EQ(batch->inputs[0], static_cast<float>(dataset.train.pixels[0]) - 3);
}

TEST(Loader, KeepsTheSamplesMemory) {
  auto dataset = std::make_unique<Dataset>(make_dataset({1, 4, 4}, 40));
  const auto before = std::vector<std::uint8_t>(dataset->train.pixels.begin(), dataset->train.pixels.end());
  Loader loader(*dataset, dataset->train, {.batch_size = 40});
  dataset.reset();
  loader.start(0, 0, shuffled(40));
  const auto* batch = loader.next();
  const auto order = shuffled(40);
  const float mean = 100.3f, deviation = 50.7f;
  for (std::size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(batch->inputs[i * 16], (before[static_cast<std::size_t>(order[i]) * 16] - mean) / deviation);
  }
}

TEST(Loader, TimesOnlyItsWaiting) {
  const auto dataset = make_dataset({3, 16, 16}, 64);
  Loader loader(dataset, dataset.train, {.batch_size = 8, .workers = 1, .prefetch = 8});
  loader.start(0, 0, shuffled(64));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  while (loader.next() != nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(loader.seconds_waited(), 0);
  EXPECT_LT(loader.seconds_waited(), 0.1);
  Loader alone(dataset, dataset.train, {.batch_size = 64, .workers = 0, .augmentation = kEverything});
  alone.start(0, 0, shuffled(64));
  (void)alone.next();
  EXPECT_GT(alone.seconds_waited(), 0);
}

TEST(Loader, RefusesOptionsThatCannotBe) {
  const auto dataset = make_dataset({1, 4, 4}, 4);
  const auto message = [&](const LoaderOptions& options) {
    try {
      const Loader loader(dataset, dataset.train, options);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({.batch_size = 0}), "batch_size: 0; expected 1 or more");
  EXPECT_EQ(message({.workers = -1}), "workers: -1; expected 0…1024");
  EXPECT_EQ(message({.workers = 1025}), "workers: 1025; expected 0…1024");
  EXPECT_EQ(message({.prefetch = 0}), "prefetch: 0; expected 1…1024");
  EXPECT_EQ(message({.augmentation = {.crop_padding = 4}}), "crop_padding: 4; expected 0…3");
  const Samples foreign{dataset.train.pixels.first(20), dataset.train.labels};
  EXPECT_THROW(Loader(dataset, foreign, {}), std::invalid_argument);
}

}  // namespace
}  // namespace anact::data
