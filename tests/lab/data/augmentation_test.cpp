#include "data/augmentation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace anact::data {
namespace {

using Pixels = std::vector<std::uint8_t>;

// No two neighbours alike.
Pixels pattern(const Shape& shape, unsigned state = 1) {
  Pixels pixels(static_cast<std::size_t>(shape.values()));
  for (auto& pixel : pixels) {
    state = state * 1664525u + 1013904223u;
    pixel = static_cast<std::uint8_t>(state >> 24);
  }
  return pixels;
}

// The pixel there, black beyond the border.
int at(const Pixels& pixels, const Shape& shape, std::int64_t channel, std::int64_t y, std::int64_t x) {
  if (y < 0 || x < 0 || y >= shape.height || x >= shape.width) return 0;
  return pixels[static_cast<std::size_t>((channel * shape.height + y) * shape.width + x)];
}

Pixels changed(const Changes& changes, const Shape& shape, const Pixels& colour, const Pixels& image) {
  Pixels output(image.size(), 0xAA);
  apply(changes, shape, colour, image.data(), output.data());
  return output;
}

template <class F>
void for_each_pixel(const Shape& shape, F f) {
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    for (std::int64_t y = 0; y < shape.height; ++y) {
      for (std::int64_t x = 0; x < shape.width; ++x) f(channel, y, x);
    }
  }
}

const std::vector<Shape> kShapes{{1, 1, 1}, {1, 1, 5}, {3, 7, 1}, {3, 5, 9}, {2, 13, 6}, {1, 28, 28}, {3, 32, 32}};

TEST(Augmentation, WithoutChangesTheImageStays) {
  for (const auto& shape : kShapes) {
    const auto image = pattern(shape);
    EXPECT_EQ(changed({}, shape, Pixels(3), image), image);
    Pixels output(image.size());
    augment({}, shape, Pixels(3), 1, 2, 3, image.data(), output.data());
    EXPECT_EQ(output, image);
  }
}

TEST(Augmentation, CropsAndFlipsAsPixelByPixel) {
  for (const auto& shape : kShapes) {
    const auto image = pattern(shape);
    for (std::int64_t top = -shape.height - 1; top <= shape.height + 1; ++top) {
      for (const std::int64_t left : {-shape.width - 1, -shape.width, std::int64_t{-1}, std::int64_t{0},
                                      std::int64_t{1}, shape.width - 1, shape.width, shape.width + 2}) {
        for (const bool flipped : {false, true}) {
          const auto output = changed({.top = top, .left = left, .flipped = flipped}, shape, {}, image);
          for_each_pixel(shape, [&](auto channel, auto y, auto x) {
            const auto source = flipped ? shape.width - 1 - x : x;
            ASSERT_EQ(at(output, shape, channel, y, x), at(image, shape, channel, y + top, source + left));
          });
        }
      }
    }
  }
}

TEST(Augmentation, ErasesTheBoxAfterTheFlip) {
  const Shape shape{3, 7, 5};
  const auto image = pattern(shape);
  const Box box{2, 1, 4, 3};
  const Pixels colour{10, 20, 30};
  const auto output = changed({.flipped = true, .erased = box}, shape, colour, image);
  for_each_pixel(shape, [&](auto channel, auto y, auto x) {
    const bool inside = y >= 2 && y < 6 && x >= 1 && x < 4;
    EXPECT_EQ(at(output, shape, channel, y, x),
              inside ? 10 * (channel + 1) : at(image, shape, channel, y, shape.width - 1 - x));
  });
}

// Bilinear scaling in double precision, by its definition.
double scaled(const Pixels& image, const Shape& shape, const Box& box, std::int64_t channel, std::int64_t y,
              std::int64_t x) {
  const auto source = [](std::int64_t i, std::int64_t part, std::int64_t size) {
    const double position =
        (static_cast<double>(i) + 0.5) * static_cast<double>(part) / static_cast<double>(size) - 0.5;
    return std::clamp(position, 0.0, static_cast<double>(part - 1));
  };
  const double v = source(y, box.height, shape.height), u = source(x, box.width, shape.width);
  double sum = 0;
  for (std::int64_t j = 0; j < box.height; ++j) {
    for (std::int64_t i = 0; i < box.width; ++i) {
      const double weight = std::max(0.0, 1 - std::abs(v - static_cast<double>(j))) *
                            std::max(0.0, 1 - std::abs(u - static_cast<double>(i)));
      sum += weight * at(image, shape, channel, box.top + j, box.left + i);
    }
  }
  return sum;
}

TEST(Augmentation, ScalesAsTheDefinition) {
  for (const auto& shape : kShapes) {
    const auto image = pattern(shape);
    Random random{7, static_cast<std::uint64_t>(shape.values())};
    for (int i = 0; i < 20; ++i) {
      Box box;
      box.height = 1 + random.below(shape.height);
      box.width = 1 + random.below(shape.width);
      box.top = random.below(shape.height - box.height + 1);
      box.left = random.below(shape.width - box.width + 1);
      const auto output = changed({.resized = box}, shape, {}, image);
      for_each_pixel(shape, [&](auto channel, auto y, auto x) {
        ASSERT_NEAR(at(output, shape, channel, y, x), scaled(image, shape, box, channel, y, x), 0.5 + 0.125);
      });
    }
    const Box whole{0, 0, shape.height, shape.width};
    EXPECT_EQ(changed({.resized = whole}, shape, {}, image), image);
  }
}

TEST(Augmentation, ScalesWhatWasCroppedBefore) {
  const Shape shape{2, 6, 8};
  const auto image = pattern(shape);
  const Box box{1, 2, 4, 5};
  const auto cropped = changed({.top = -2, .left = 3}, shape, {}, image);
  EXPECT_EQ(changed({.top = -2, .left = 3, .resized = box, .flipped = true}, shape, {}, image),
            changed({.resized = box, .flipped = true}, shape, {}, cropped));
}

// How far the counts are from equal, by chi squared over its standard deviation.
double unevenness(const std::vector<std::int64_t>& counts) {
  const auto total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const auto count : counts) sum += std::pow(static_cast<double>(count) - expected, 2) / expected;
  const auto freedom = static_cast<double>(counts.size() - 1);
  return (sum - freedom) / std::sqrt(2 * freedom);
}

TEST(Augmentation, CropsEverywhereAlikeAndFlipsHalf) {
  const Shape shape{1, 32, 32};
  Random random{42};
  std::vector<std::int64_t> counts(81 * 2);
  for (int i = 0; i < 162'000; ++i) {
    const auto changes = draw_changes({.crop_padding = 4, .flip = true}, shape, random);
    ASSERT_LE(std::abs(changes.top), 4);
    ASSERT_LE(std::abs(changes.left), 4);
    ++counts[static_cast<std::size_t>(((changes.top + 4) * 9 + changes.left + 4) * 2 + (changes.flipped ? 1 : 0))];
  }
  EXPECT_LT(std::abs(unevenness(counts)), 4);
}

// The 162 outcomes over the indices of samples, the epochs and the seeds, each in turn.
TEST(Augmentation, DiffersBetweenSamplesEpochsAndSeeds) {
  const Shape shape{1, 12, 12};
  Pixels image(144), output(144);
  std::iota(image.begin(), image.end(), std::uint8_t{1});
  const Augmentation augmentation{.crop_padding = 4, .flip = true};
  for (int varied = 0; varied < 3; ++varied) {
    std::map<std::string, std::int64_t> outcomes;
    for (std::uint64_t i = 0; i < 32'400; ++i) {
      augment(augmentation, shape, {}, varied == 0 ? i : 5, varied == 1 ? i : 6,
              varied == 2 ? static_cast<std::int64_t>(i) : 7, image.data(), output.data());
      ++outcomes[std::string(output.begin(), output.end())];
    }
    EXPECT_EQ(outcomes.size(), 162u);
    std::vector<std::int64_t> counts;
    for (const auto& outcome : outcomes) counts.push_back(outcome.second);
    EXPECT_LT(std::abs(unevenness(counts)), 4);
  }
}

TEST(Augmentation, ResizedCropsHaveTheStatedAreasAndRatios) {
  Random random{43};
  const Shape shape{3, 64, 48};
  const double whole = 64 * 48;
  double areas = 0, smallest = whole, logarithms = 0;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) {
    const auto changes = draw_changes({.resized_crop = true}, shape, random);
    ASSERT_TRUE(changes.resized);
    const auto& box = *changes.resized;
    ASSERT_GE(std::min(box.top, box.left), 0);
    ASSERT_LE(box.top + box.height, 64);
    ASSERT_LE(box.left + box.width, 48);
    const auto height = static_cast<double>(box.height), width = static_cast<double>(box.width);
    // Each side is rounded, so that the ratio may be off by that.
    ASSERT_LT((width - 0.5) / (height + 0.5), 4.0 / 3);
    ASSERT_GT((width + 0.5) / (height - 0.5), 3.0 / 4);
    areas += height * width / whole;
    smallest = std::min(smallest, height * width);
    logarithms += std::log(width / height);
  }
  EXPECT_NEAR(smallest / whole, 0.08, 0.01);
  // Boxes that do not fit are drawn again: they are the large ones and, in a tall image, the wide ones.
  EXPECT_GT(areas / kDraws, 0.40);
  EXPECT_LT(areas / kDraws, 0.54);
  EXPECT_LT(logarithms / kDraws, 0);
}

TEST(Augmentation, ResizedCropsOfStripsFallBackToTheMiddle) {
  Random random{44};
  for (int i = 0; i < 100; ++i) {
    const auto wide = draw_changes({.resized_crop = true}, {1, 3, 300}, random);
    EXPECT_LE(wide.resized->width, 4);
    const auto tall = draw_changes({.resized_crop = true}, {1, 1000, 6}, random);
    EXPECT_LE(tall.resized->height, 8);
  }
  const auto one = draw_changes({.resized_crop = true}, {1, 1, 1}, random);
  EXPECT_EQ(*one.resized, (Box{0, 0, 1, 1}));
}

TEST(Augmentation, ErasesAsOftenAndAsMuchAsStated) {
  Random random{45};
  const Shape shape{3, 40, 40};
  int erased = 0;
  double smallest = 1, largest = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto changes = draw_changes({.erasing = 0.25}, shape, random);
    if (!changes.erased) continue;
    ++erased;
    const auto& box = *changes.erased;
    ASSERT_LE(box.top + box.height, 40);
    ASSERT_LE(box.left + box.width, 40);
    const double share = static_cast<double>(box.height * box.width) / 1600;
    smallest = std::min(smallest, share);
    largest = std::max(largest, share);
  }
  EXPECT_NEAR(erased / 20'000.0, 0.25, 5 * std::sqrt(0.25 * 0.75 / 20'000));
  EXPECT_NEAR(smallest, 0.02, 0.005);
  EXPECT_NEAR(largest, 0.4, 0.02);
}

TEST(Augmentation, BetaHasItsMeanAndVariance) {
  for (const double a : {0.001, 0.05, 0.2, 1.0, 2.5, 40.0, 1000.0}) {
    Random random{46, static_cast<std::uint64_t>(a * 1000)};
    constexpr int kDraws = 40'000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double value = random.symmetric_beta(a);
      ASSERT_GE(value, 0);
      ASSERT_LE(value, 1);
      sum += value;
      squares += (value - 0.5) * (value - 0.5);
    }
    const double variance = 1 / (4 * (2 * a + 1));
    EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(variance / kDraws)) << a;
    EXPECT_NEAR(squares / kDraws, variance, 5 * variance * std::sqrt(2.0 / kDraws)) << a;
  }
  Random random{47};
  for (int i = 0; i < 100; ++i) {
    const double value = random.symmetric_beta(std::numeric_limits<double>::denorm_min());
    EXPECT_TRUE(value == 0 || value == 1) << value;
  }
}

TEST(Random, NumbersBelowABoundAreEven) {
  Random random{48};
  for (const std::int64_t bound : {1, 2, 3, 7, 100}) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(bound));
    for (int i = 0; i < 20'000; ++i) ++counts[static_cast<std::size_t>(random.below(bound))];
    if (bound > 1) {
      EXPECT_LT(std::abs(unevenness(counts)), 4) << bound;
    }
  }
  // With three quarters of the range every fourth draw is rejected.
  const std::int64_t large = std::int64_t{3} << 61;
  int low = 0;
  for (int i = 0; i < 10'000; ++i) low += random.below(large) < large / 2;
  EXPECT_NEAR(low, 5000, 5 * 50);
}

TEST(Random, TheKeysWordsAreNotInterchangeable) {
  std::set<std::uint64_t> firsts;
  for (std::uint64_t a = 0; a < 100; ++a) {
    for (std::uint64_t b = 0; b < 100; ++b) firsts.insert(Random{a, b}.next());
  }
  EXPECT_EQ(firsts.size(), 10'000u);
}

TEST(Mix, NothingWhenBothAreOff) { EXPECT_FALSE(draw_mix({.crop_padding = 1}, {1, 4, 4}, 0, 0, 0, 8)); }

TEST(Mix, PartnersAreAPermutation) {
  const Shape shape{3, 8, 8};
  std::map<std::vector<std::int64_t>, std::int64_t> orders;
  for (std::int64_t batch = 0; batch < 24'000; ++batch) {
    ++orders[draw_mix({.mixup = 1}, shape, 3, 4, batch, 4)->partners];
  }
  std::vector<std::int64_t> counts;
  for (const auto& [order, count] : orders) {
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()), (std::set<std::int64_t>{0, 1, 2, 3}));
    counts.push_back(count);
  }
  EXPECT_EQ(counts.size(), 24u);
  EXPECT_LT(std::abs(unevenness(counts)), 4);
  EXPECT_EQ(draw_mix({.mixup = 1}, shape, 3, 4, 5, 1)->partners, std::vector<std::int64_t>{0});
}

TEST(Mix, MixupWeightsFollowBeta) {
  double sum = 0, squares = 0;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) {
    const auto mix = draw_mix({.mixup = 0.2}, {3, 32, 32}, 1, static_cast<std::uint64_t>(i), 2, 3);
    EXPECT_FALSE(mix->pasted);
    sum += mix->weight;
    squares += (mix->weight - 0.5) * (mix->weight - 0.5);
  }
  const double variance = 1 / (4 * 1.4);
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(variance / kDraws));
  EXPECT_NEAR(squares / kDraws, variance, 5 * variance * std::sqrt(2.0 / kDraws));
}

TEST(Mix, CutmixWeightsAreTheBoxesTrueShares) {
  const Shape shape{3, 21, 33};
  std::set<std::int64_t> heights;
  for (std::int64_t batch = 0; batch < 5000; ++batch) {
    const auto mix = draw_mix({.cutmix = 1}, shape, 9, 1, batch, 5);
    ASSERT_TRUE(mix->pasted);
    const auto& box = *mix->pasted;
    ASSERT_GE(std::min({box.top, box.left, box.height, box.width}), 0);
    ASSERT_LE(box.top + box.height, 21);
    ASSERT_LE(box.left + box.width, 33);
    ASSERT_DOUBLE_EQ(mix->weight, 1 - static_cast<double>(box.height * box.width) / (21 * 33));
    heights.insert(box.height);
  }
  EXPECT_GT(heights.size(), 15u);
}

TEST(Mix, ACoinDecidesBetweenBoth) {
  int pasted = 0;
  for (std::int64_t batch = 0; batch < 10'000; ++batch) {
    pasted += draw_mix({.mixup = 1, .cutmix = 1}, {1, 9, 9}, 2, 3, batch, 2)->pasted ? 1 : 0;
  }
  EXPECT_NEAR(pasted, 5000, 5 * 50);
}

TEST(Validate, NamesTheMemberAndItsRange) {
  const auto message = [](const Augmentation& augmentation, const Shape& shape = {3, 32, 28}) {
    try {
      validate(augmentation, shape);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({}), "no error");
  EXPECT_EQ(
      message({.crop_padding = 27, .flip = true, .resized_crop = true, .erasing = 1, .mixup = 1000, .cutmix = 1e-9}),
      "no error");
  EXPECT_EQ(message({.crop_padding = -1}), "crop_padding: -1; expected 0…27");
  EXPECT_EQ(message({.crop_padding = 28}), "crop_padding: 28; expected 0…27");
  EXPECT_EQ(message({.crop_padding = 1}, {1, 1, 1}), "crop_padding: 1; expected 0…0");
  EXPECT_EQ(message({.erasing = 1.5}), "erasing: 1.5; expected 0…1");
  EXPECT_EQ(message({.erasing = std::nan("")}), "erasing: nan; expected 0…1");
  EXPECT_EQ(message({.mixup = -0.1}), "mixup: -0.1; expected 0…1000");
  EXPECT_EQ(message({.cutmix = std::numeric_limits<double>::infinity()}), "cutmix: inf; expected 0…1000");
}

TEST(MeanColour, IsRoundedAndInRange) {
  Dataset dataset;
  dataset.mean = {0.2, 127.5, 254.9};
  EXPECT_EQ(mean_colour(dataset), (Pixels{0, 128, 255}));
}

}  // namespace
}  // namespace anact::data
