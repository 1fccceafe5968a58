// The handwritten digits that scikit-learn carries: 1,797 images of 8x8 (UCI, Alpaydin and Kaynak 1998).
#pragma once

#include <cstdint>
#include <filesystem>

#include "data/dataset.h"

namespace anact::data {

// Reads digits.csv.gz, or the same uncompressed: 64 values of 0…16 and a label of 0…9 a line, separated by commas.
//
// 360 images are held out for the test, the same ones always. The pixels keep their values, of 0…16; with a size they
// are shrunk to it (shrink()). Throws std::runtime_error that names the file, the line and what was expected, and
// std::invalid_argument for a size above 8.
[[nodiscard]] Dataset load_digits(const std::filesystem::path& path, std::int64_t size = 0);

}  // namespace anact::data
