// The handwritten digits that scikit-learn carries: 1,797 images of 8x8 (UCI, Alpaydin and Kaynak 1998).
#pragma once

#include <filesystem>

#include "data/dataset.h"

namespace anact::data {

// Reads digits.csv.gz, or the same uncompressed: 64 values of 0…16 and a label of 0…9 a line, separated by commas.
//
// 360 images are held out for the test, the same ones always; the pixels are shifted and scaled to mean 0 and standard
// deviation 1 over the training images. Throws std::runtime_error that names the file, the line and what was expected.
[[nodiscard]] Dataset load_digits(const std::filesystem::path& path);

// Where digits.csv.gz is looked for: the folder that ANACT_DATA names if it is set, else the one the build was told of,
// else share/anact beside the program. The first that exists; throws std::runtime_error that names them all when none
// does.
[[nodiscard]] std::filesystem::path find_digits();

}  // namespace anact::data
