// Images made smaller.
#pragma once

#include <cstdint>
#include <span>

#include "data/source.h"

namespace anact::data {

// Each pixel of `output` (channels x size x size) is the mean of the area that it covers in `image` (of `shape`),
// pixels that it covers in part counted by their share; rounded, halves up. Computed in whole numbers, so it is the
// same everywhere; where the size divides the sides it is PyTorch's interpolate(mode='area'). `size` must be from 1 to
// the shorter side.
void shrink(const Shape& shape, std::span<const std::uint8_t> image, std::int64_t size, std::span<std::uint8_t> output);

// The source with its images shrunk to squares of `size`. Reading throws std::invalid_argument that names the set and
// its images' size when that is smaller.
[[nodiscard]] Source shrunk(Source source, std::int64_t size);

// Throws std::invalid_argument unless images of `shape` can be shrunk to `size`.
void check_size(std::string_view set, const Shape& shape, std::int64_t size);

}  // namespace anact::data
