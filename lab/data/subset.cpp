#include "data/subset.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/random.h"
#include "text/words.h"

namespace anact::data {
namespace {

using Indices = std::vector<std::int64_t>;

enum class Draw : std::uint64_t { validation, train, test };

// How many of each class's samples are taken so that `count` are in all: its share rounded down, then one more for the
// classes with the largest remainders, the first of equals.
Indices shares(const std::vector<Indices>& classes, std::int64_t count) {
  std::int64_t all = 0;
  for (const auto& samples : classes) all += static_cast<std::int64_t>(samples.size());
  Indices result, remainders, order(classes.size());
  std::int64_t missing = count;
  for (const auto& samples : classes) {
    const auto share = count * static_cast<std::int64_t>(samples.size());
    result.push_back(share / all);
    remainders.push_back(share % all);
    missing -= result.back();
  }
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](std::int64_t i) { return remainders[static_cast<std::size_t>(i)]; });
  for (std::int64_t i = 0; i < missing; ++i) ++result[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])];
  return result;
}

// `count` of the samples with these indices, and the others, each ascending.
std::pair<Indices, Indices> draw(const Indices& from, std::span<const std::int32_t> labels, std::size_t classes,
                                 std::int64_t count, std::uint64_t seed, Draw purpose) {
  std::vector<Indices> by_class(classes);
  for (const auto index : from) {
    by_class[static_cast<std::size_t>(labels[static_cast<std::size_t>(index)])].push_back(index);
  }
  const auto wanted = shares(by_class, count);
  std::pair<Indices, Indices> result;
  for (std::size_t label = 0; label < classes; ++label) {
    auto& samples = by_class[label];
    Random random({seed, static_cast<std::uint64_t>(purpose), label});
    for (std::size_t i = samples.size(); i > 1; --i) {
      std::swap(samples[i - 1], samples[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
    }
    const auto middle = samples.begin() + wanted[label];
    result.first.insert(result.first.end(), samples.begin(), middle);
    result.second.insert(result.second.end(), middle, samples.end());
  }
  std::ranges::sort(result.first);
  std::ranges::sort(result.second);
  return result;
}

// What the samples of a subset refer to.
struct Storage {
  std::shared_ptr<const void> whole;
  std::vector<std::int32_t> labels;
  Indices images;
};

void take(Dataset& dataset, Samples& target, const Samples& from, const Indices& chosen) {
  const auto storage = std::make_shared<Storage>();
  storage->whole = dataset.storage;
  for (const auto index : chosen) {
    const auto at = static_cast<std::size_t>(index);
    storage->labels.push_back(from.labels[at]);
    storage->images.push_back(from.images.empty() ? index : from.images[at]);
  }
  target = {.pixels = from.pixels, .labels = storage->labels, .images = storage->images};
  dataset.storage = storage;
}

}  // namespace

Dataset subset(Dataset dataset, const SubsetOptions& options) {
  const auto classes = static_cast<std::size_t>(dataset.classes());
  const auto train = dataset.train, test = dataset.test;
  Indices rest(static_cast<std::size_t>(train.size()));
  std::iota(rest.begin(), rest.end(), 0);
  if (options.validation > 0) {
    const auto count = std::llround(options.validation * static_cast<double>(train.size()));
    if (count == 0 || count >= train.size()) {
      throw std::invalid_argument("validation is " + text::shortest(options.validation) + ": of " +
                                  std::to_string(train.size()) + " training samples that is " + std::to_string(count) +
                                  "; expected at least 1, and as many left to train on");
    }
    auto [split, left] = draw(rest, train.labels, classes, count, options.seed, Draw::validation);
    take(dataset, dataset.validation, train, split);
    rest = std::move(left);
  }
  const auto left = static_cast<std::int64_t>(rest.size());
  if (options.train > 0 && options.train < left) {
    rest = draw(rest, train.labels, classes, options.train, options.seed, Draw::train).first;
  }
  if (static_cast<std::int64_t>(rest.size()) < train.size()) take(dataset, dataset.train, train, rest);
  if (options.test > 0 && options.test < test.size()) {
    Indices all(static_cast<std::size_t>(test.size()));
    std::iota(all.begin(), all.end(), 0);
    take(dataset, dataset.test, test, draw(all, test.labels, classes, options.test, options.seed, Draw::test).first);
  }
  return dataset;
}

}  // namespace anact::data
