#include "data/augmentation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace anact::data {
namespace {

// The first word of a random stream's key: what the stream is for.
constexpr std::uint64_t kSampleStream = 1;
constexpr std::uint64_t kBatchStream = 2;

// After so many boxes that do not fit, another way is taken; torchvision's count.
constexpr int kTries = 10;

constexpr double kLargestBeta = 1000;

// Weights of the bilinear scaling are multiples of 2^-kWeightBits: a whole-number result is the same on every machine.
constexpr int kWeightBits = 11;
constexpr std::int64_t kWeightOne = std::int64_t{1} << kWeightBits;

template <class T>
void check(const char* member, T value, T low, T high) {
  if (value >= low && value <= high) return;  // false for NaN
  std::ostringstream text;
  text << member << ": " << value << "; expected " << low << "…" << high;
  throw std::invalid_argument(text.str());
}

// A box of `low` to `high` of the area, its ratio of width to height between 1 / `ratio` and `ratio`, uniform in the
// area and in the ratio's logarithm; nothing when it was too large for the image each time.
std::optional<Box> draw_box(const Shape& shape, double low, double high, double ratio, Random& random) {
  const auto whole = static_cast<double>(shape.height * shape.width);
  for (int i = 0; i < kTries; ++i) {
    const double area = whole * random.uniform(low, high);
    const double aspect = std::exp(random.uniform(-std::log(ratio), std::log(ratio)));
    const auto width = static_cast<std::int64_t>(std::lround(std::sqrt(area * aspect)));
    const auto height = static_cast<std::int64_t>(std::lround(std::sqrt(area / aspect)));
    if (width < 1 || height < 1 || width > shape.width || height > shape.height) continue;
    const auto top = random.below(shape.height - height + 1);
    return Box{top, random.below(shape.width - width + 1), height, width};
  }
  return std::nullopt;
}

Box draw_resized(const Shape& shape, Random& random) {
  constexpr double kRatio = 4.0 / 3;
  if (const auto box = draw_box(shape, 0.08, 1, kRatio, random)) return *box;
  // The largest in the middle that has an allowed ratio.
  const auto share = [](std::int64_t side) {
    return std::max<std::int64_t>(1, std::llround(static_cast<double>(side) * kRatio));
  };
  const auto width = std::min(shape.width, share(shape.height)), height = std::min(shape.height, share(shape.width));
  return {(shape.height - height) / 2, (shape.width - width) / 2, height, width};
}

// The image's part whose corner is at (top, left), of the image's own size; black beyond the border.
void shift(const Shape& shape, std::int64_t top, std::int64_t left, const std::uint8_t* image, std::uint8_t* output) {
  const auto first = std::clamp<std::int64_t>(-left, 0, shape.width);
  const auto last = std::clamp<std::int64_t>(shape.width - left, first, shape.width);
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    for (std::int64_t y = 0; y < shape.height; ++y, output += shape.width) {
      if (y + top < 0 || y + top >= shape.height) {
        std::fill_n(output, shape.width, std::uint8_t{0});
        continue;
      }
      const auto* row = image + (channel * shape.height + y + top) * shape.width;
      std::fill(output, output + first, std::uint8_t{0});
      std::copy(row + (first + left), row + (last + left), output + first);
      std::fill(output + last, output + shape.width, std::uint8_t{0});
    }
  }
}

// Where an output pixel lies between two input pixels.
struct Tap {
  std::int64_t first;
  std::int64_t second;
  std::int64_t weight;  // of the second, in multiples of 1 / kWeightOne
};

// Of each of `size` output pixels over `part` input pixels that begin at `start`.
std::vector<Tap> taps(std::int64_t start, std::int64_t part, std::int64_t size) {
  std::vector<Tap> result;
  result.reserve(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) {
    // (i + 1/2) part / size - 1/2, rounded to a multiple of 1 / kWeightOne.
    const auto centre = ((2 * i + 1) * part * kWeightOne + size) / (2 * size) - kWeightOne / 2;
    const auto position = std::clamp<std::int64_t>(centre, 0, (part - 1) * kWeightOne);
    const auto first = position >> kWeightBits;
    result.push_back({start + first, start + std::min(first + 1, part - 1), position & (kWeightOne - 1)});
  }
  return result;
}

void scale(const Shape& shape, const Box& box, const std::uint8_t* image, std::uint8_t* output) {
  const auto rows = taps(box.top, box.height, shape.height), columns = taps(box.left, box.width, shape.width);
  for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
    const auto* plane = image + channel * shape.height * shape.width;
    for (const auto& row : rows) {
      const auto* above = plane + row.first * shape.width;
      const auto* below = plane + row.second * shape.width;
      for (const auto& column : columns) {
        const auto across = [&](const std::uint8_t* line) {
          return line[column.first] * (kWeightOne - column.weight) + line[column.second] * column.weight;
        };
        const auto value = across(above) * (kWeightOne - row.weight) + across(below) * row.weight;
        *output++ = static_cast<std::uint8_t>((value + kWeightOne * kWeightOne / 2) >> (2 * kWeightBits));
      }
    }
  }
}

}  // namespace

void validate(const Augmentation& augmentation, const Shape& shape) {
  // With more, a crop could miss the image.
  check<std::int64_t>("crop_padding", augmentation.crop_padding, 0, std::min(shape.height, shape.width) - 1);
  check<double>("erasing", augmentation.erasing, 0, 1);
  check<double>("mixup", augmentation.mixup, 0, kLargestBeta);
  check<double>("cutmix", augmentation.cutmix, 0, kLargestBeta);
}

Changes draw_changes(const Augmentation& augmentation, const Shape& shape, Random& random) {
  Changes changes;
  if (const auto padding = augmentation.crop_padding; padding > 0) {
    changes.top = random.below(2 * padding + 1) - padding;
    changes.left = random.below(2 * padding + 1) - padding;
  }
  if (augmentation.resized_crop) changes.resized = draw_resized(shape, random);
  if (augmentation.flip) changes.flipped = random.coin();
  // 2…40 % of the area, an aspect ratio of 0.3…1/0.3: the paper's.
  if (augmentation.erasing > 0 && random.uniform() < augmentation.erasing) {
    changes.erased = draw_box(shape, 0.02, 0.4, 1 / 0.3, random);
  }
  return changes;
}

void apply(const Changes& changes, const Shape& shape, std::span<const std::uint8_t> colour, const std::uint8_t* image,
           std::uint8_t* output) {
  if (!changes.resized) {
    shift(shape, changes.top, changes.left, image, output);
  } else if (changes.top == 0 && changes.left == 0) {
    scale(shape, *changes.resized, image, output);
  } else {
    std::vector<std::uint8_t> shifted(static_cast<std::size_t>(shape.values()));
    shift(shape, changes.top, changes.left, image, shifted.data());
    scale(shape, *changes.resized, shifted.data(), output);
  }
  if (changes.flipped) {
    for (auto* row = output; row != output + shape.values(); row += shape.width) std::reverse(row, row + shape.width);
  }
  if (changes.erased) {
    const auto& box = *changes.erased;
    for (std::int64_t channel = 0; channel < shape.channels; ++channel) {
      for (auto y = box.top; y < box.top + box.height; ++y) {
        std::fill_n(output + (channel * shape.height + y) * shape.width + box.left, box.width,
                    colour[static_cast<std::size_t>(channel)]);
      }
    }
  }
}

void augment(const Augmentation& augmentation, const Shape& shape, std::span<const std::uint8_t> colour,
             std::uint64_t seed, std::uint64_t epoch, std::int64_t index, const std::uint8_t* image,
             std::uint8_t* output) {
  Random random{kSampleStream, seed, epoch, static_cast<std::uint64_t>(index)};
  apply(draw_changes(augmentation, shape, random), shape, colour, image, output);
}

std::vector<std::uint8_t> mean_colour(const Dataset& dataset) {
  std::vector<std::uint8_t> colour;
  for (const double mean : dataset.mean) {
    colour.push_back(static_cast<std::uint8_t>(std::lround(std::clamp(mean, 0.0, 255.0))));
  }
  return colour;
}

std::optional<Mix> draw_mix(const Augmentation& augmentation, const Shape& shape, std::uint64_t seed,
                            std::uint64_t epoch, std::int64_t batch, std::int64_t batch_size) {
  if (augmentation.mixup == 0 && augmentation.cutmix == 0) return std::nullopt;
  Random random{kBatchStream, seed, epoch, static_cast<std::uint64_t>(batch)};
  Mix mix;
  mix.partners.resize(static_cast<std::size_t>(batch_size));
  std::iota(mix.partners.begin(), mix.partners.end(), 0);
  for (auto i = batch_size - 1; i > 0; --i) {
    std::swap(mix.partners[static_cast<std::size_t>(i)], mix.partners[static_cast<std::size_t>(random.below(i + 1))]);
  }
  const bool cutmix = augmentation.cutmix > 0 && (augmentation.mixup == 0 || random.coin());
  mix.weight = random.symmetric_beta(cutmix ? augmentation.cutmix : augmentation.mixup);
  if (!cutmix) return mix;
  // A box of the image's ratio around a point anywhere in it; what lies beyond the border is cut off (Yun et al. 2019).
  const double side = std::sqrt(1 - mix.weight);
  const auto range = [&](std::int64_t size) {
    const auto half = static_cast<std::int64_t>(side * static_cast<double>(size)) / 2;
    const auto centre = random.below(size);
    const auto low = std::max<std::int64_t>(centre - half, 0);
    return std::pair(low, std::min(centre + half, size) - low);
  };
  const auto [top, height] = range(shape.height);
  const auto [left, width] = range(shape.width);
  mix.pasted = Box{top, left, height, width};
  mix.weight = 1 - static_cast<double>(height * width) / static_cast<double>(shape.height * shape.width);
  return mix;
}

}  // namespace anact::data
