// Random changes to training images, on uint8.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/random.h"

namespace anact::data {

struct Augmentation {
  std::int64_t crop_padding = 0;  // a crop of the image's own size out of the image with so many black pixels around it
  bool flip = false;              // left to right, one time in two
  // A crop of 8…100 % of the area and an aspect ratio of 3/4…4/3, scaled to the image's size (Szegedy et al. 2015).
  bool resized_crop = false;
  double erasing = 0;  // probability of a rectangle of the set's mean colour (Zhong et al. 2020)
  double mixup = 0;    // parameter of the Beta distribution (Zhang et al. 2018); 0 is off
  double cutmix = 0;   // the same (Yun et al. 2019); with both, a coin decides for each batch

  bool operator==(const Augmentation&) const = default;
};

// Throws std::invalid_argument that names the member and its range.
void validate(const Augmentation& augmentation, const Shape& shape);

struct Box {
  std::int64_t top = 0;
  std::int64_t left = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;

  bool operator==(const Box&) const = default;
};

// What is done to one image, in this order.
struct Changes {
  // The corner of the crop in the image's own coordinates, from -crop_padding to crop_padding.
  std::int64_t top = 0;
  std::int64_t left = 0;
  std::optional<Box> resized = {};  // the part that is scaled to the whole image
  bool flipped = false;
  std::optional<Box> erased = {};
};

// `augmentation` must be valid for the shape.
[[nodiscard]] Changes draw_changes(const Augmentation& augmentation, const Shape& shape, Random& random);

// `image` and `output` are channels x height x width and must not overlap; `colour` has one value a channel. Scaling is
// bilinear with pixels' centres at halves and the border's pixels continued, as PyTorch's interpolate(mode='bilinear',
// align_corners=False), within 1/8 before rounding.
void apply(const Changes& changes, const Shape& shape, std::span<const std::uint8_t> colour, const std::uint8_t* image,
           std::uint8_t* output);

// The changes to the sample of this index in this epoch, which depend on the arguments alone.
void augment(const Augmentation& augmentation, const Shape& shape, std::span<const std::uint8_t> colour,
             std::uint64_t seed, std::uint64_t epoch, std::int64_t index, const std::uint8_t* image,
             std::uint8_t* output);

// The colour that erases: the set's mean, rounded.
[[nodiscard]] std::vector<std::uint8_t> mean_colour(const Dataset& dataset);

// How the samples of one batch are mixed with each other.
struct Mix {
  std::vector<std::int64_t> partners;  // a permutation of the batch: sample i is mixed with sample partners[i]
  double weight = 1;                   // of sample i itself; for cutmix its true share of the pixels
  std::optional<Box> pasted;           // cutmix: where the partner's pixels are; without, all pixels are weighted
};

// Nothing when neither mixup nor cutmix is on. The result depends on the arguments alone.
[[nodiscard]] std::optional<Mix> draw_mix(const Augmentation& augmentation, const Shape& shape, std::uint64_t seed,
                                          std::uint64_t epoch, std::int64_t batch, std::int64_t batch_size);

}  // namespace anact::data
