#include "data/subset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <vector>

#include "data/loader.h"
#include "support/message.h"

namespace anact::data {
namespace {

// Sample i of either split is one pixel of value i; the classes lie one after another, as in a folder of folders.
Dataset sorted_by_class(const std::vector<int>& sizes) {
  struct Storage {
    std::vector<std::uint8_t> pixels;
    std::vector<std::int32_t> labels;
  };
  const auto storage = std::make_shared<Storage>();
  Dataset dataset;
  dataset.name = "sorted";
  for (std::size_t label = 0; label < sizes.size(); ++label) {
    dataset.class_names.push_back(std::to_string(label));
    for (int i = 0; i < sizes[label]; ++i) {
      storage->pixels.push_back(static_cast<std::uint8_t>(storage->pixels.size()));
      storage->labels.push_back(static_cast<std::int32_t>(label));
    }
  }
  dataset.shape = {.channels = 1, .height = 1, .width = 1};
  dataset.train = dataset.test = {.pixels = storage->pixels, .labels = storage->labels, .images = {}};
  dataset.mean = {0};
  dataset.deviation = {1};
  dataset.storage = storage;
  return dataset;
}

std::vector<int> values(const Dataset& dataset, const Samples& samples) {
  std::vector<int> result;
  for (std::int64_t i = 0; i < samples.size(); ++i) result.push_back(samples.image(i, dataset.shape)[0]);
  return result;
}

std::map<int, int> counts(const Samples& samples) {
  std::map<int, int> result;
  for (const auto label : samples.labels) ++result[label];
  return result;
}

TEST(Subset, KeepsEveryClassesShare) {
  const auto whole = sorted_by_class({40, 20, 7, 1});
  for (const int count : {1, 4, 17, 34, 67}) {
    const auto dataset = subset(whole, {.train = count, .test = count, .validation = 0, .seed = 3});
    for (const auto& samples : {dataset.train, dataset.test}) {
      ASSERT_EQ(samples.size(), count);
      for (const auto& [label, number] : counts(samples)) {
        const double share = count * static_cast<double>(counts(whole.train)[label]) / 68;
        EXPECT_LT(std::abs(number - share), 1) << label << " of " << count;
      }
      // Each once, in the old order, with its own label.
      const auto chosen = values(dataset, samples);
      EXPECT_TRUE(std::ranges::is_sorted(chosen));
      EXPECT_EQ(std::set<int>(chosen.begin(), chosen.end()).size(), chosen.size());
      for (std::int64_t i = 0; i < count; ++i) {
        EXPECT_EQ(samples.labels[static_cast<std::size_t>(i)],
                  whole.train.labels[static_cast<std::size_t>(chosen[static_cast<std::size_t>(i)])]);
      }
    }
    EXPECT_TRUE(count > 60 || values(dataset, dataset.train) != values(dataset, dataset.test));
  }
}

TEST(Subset, ValidationIsNeverTrainedOn) {
  const auto whole = sorted_by_class({30, 30, 30});
  const auto dataset = subset(whole, {.train = 40, .test = 0, .validation = 0.2, .seed = 1});
  EXPECT_EQ(dataset.validation.size(), 18);
  EXPECT_EQ(counts(dataset.validation), (std::map<int, int>{{0, 6}, {1, 6}, {2, 6}}));
  EXPECT_EQ(dataset.train.size(), 40);
  EXPECT_EQ(dataset.test.size(), 90);
  auto both = values(dataset, dataset.train);
  const auto held = values(dataset, dataset.validation);
  both.insert(both.end(), held.begin(), held.end());
  EXPECT_EQ(std::set<int>(both.begin(), both.end()).size(), 58U);
  // How many are trained on leaves the validation images as they are, so that choices can be compared.
  EXPECT_EQ(values(dataset, dataset.validation),
            values(dataset, subset(whole, {.train = 0, .test = 5, .validation = 0.2, .seed = 1}).validation));
  EXPECT_EQ(subset(whole, {.train = 0, .test = 0, .validation = 0.2, .seed = 1}).train.size(), 72);
}

TEST(Subset, DependsOnTheSeedAlone) {
  const auto whole = sorted_by_class({50, 50});
  const auto drawn = [&](std::uint64_t seed) {
    const auto dataset = subset(whole, {.train = 20, .test = 0, .validation = 0, .seed = seed});
    return values(dataset, dataset.train);
  };
  EXPECT_EQ(drawn(5), drawn(5));
  EXPECT_NE(drawn(5), drawn(6));
}

TEST(Subset, OfAllIsTheWhole) {
  const auto whole = sorted_by_class({5, 5});
  const auto dataset = subset(whole, {.train = 10, .test = 99, .validation = 0, .seed = 0});
  EXPECT_EQ(values(dataset, dataset.train), values(whole, whole.train));
  EXPECT_TRUE(dataset.train.images.empty());
  EXPECT_EQ(dataset.validation.size(), 0);
}

TEST(Subset, RefusesASplitOfNothing) {
  const auto whole = sorted_by_class({3});
  EXPECT_EQ(message([&] { (void)subset(whole, {.train = 0, .test = 0, .validation = 0.1, .seed = 0}); }),
            "validation is 0.1: of 3 training samples that is 0; expected at least 1, and as many left to train on");
  EXPECT_THROW((void)subset(whole, {.train = 0, .test = 0, .validation = 0.9, .seed = 0}), std::invalid_argument);
}

TEST(Subset, TheLoaderReadsTheChosenImages) {
  const auto dataset = subset(sorted_by_class({40, 20}), {.train = 9, .test = 0, .validation = 0, .seed = 0});
  Loader loader(dataset, dataset.train, {.batch_size = 4, .workers = 0, .scale = 2, .shift = 3});
  loader.start(0, 0, {8, 0, 4});
  const auto* batch = loader.next();
  ASSERT_EQ(batch->size(), 3);
  const auto chosen = values(dataset, dataset.train);
  for (const auto& [place, index] : {std::pair<std::size_t, std::size_t>{0, 8}, {1, 0}, {2, 4}}) {
    EXPECT_EQ(batch->inputs[place], 2.0f * static_cast<float>(chosen[index]) + 3.0f);
    EXPECT_EQ(batch->labels[place], dataset.train.labels[index]);
  }
  EXPECT_THROW(Loader(dataset, {.pixels = dataset.train.pixels, .labels = dataset.train.labels, .images = {}}, {}),
               std::invalid_argument);
}

}  // namespace
}  // namespace anact::data
