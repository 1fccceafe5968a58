// A page of samples, as they are and as training sees them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/augmentation.h"
#include "data/dataset.h"

namespace anact::data {

struct ContactSheetOptions {
  std::int64_t count = 20;  // of samples, drawn at random; all of them when there are fewer
  std::uint64_t seed = 0;   // of the choice and of the augmentation
  bool test = false;        // of the test samples
  Augmentation augmentation = {};
};

// An HTML page that needs no other file. Each sample stands beside what the augmentation makes of it in the first three
// epochs, or alone where there is none; mixup and cutmix are not shown. Images of one or three channels; of others the
// first. Dark sets (the digits' pixels end at 16) are brightened. Throws std::invalid_argument that names the option
// and its range.
[[nodiscard]] std::string contact_sheet(const Dataset& dataset, const ContactSheetOptions& options);

// The image as a PNG file: grey, or red, green and blue, 8 bits each; every value is multiplied by `scale`, at most to
// 255.
[[nodiscard]] std::string png_bytes(const Shape& shape, std::span<const std::uint8_t> pixels, double scale = 1);

}  // namespace anact::data
