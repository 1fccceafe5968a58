// The binary versions of CIFAR-10 and CIFAR-100 (cs.toronto.edu/~kriz/cifar.html, "Binary version"): records of one or
// two labels and 3,072 values, the red, green and blue plane of an image of 32x32.
#pragma once

#include <filesystem>

#include "data/source.h"

namespace anact::data {

// data_batch_{1…5}.bin, test_batch.bin and batches.meta.txt. Files may hold any number of records. Throws
// std::runtime_error that names the file when one of them is not there.
[[nodiscard]] Source cifar10_source(const std::filesystem::path& folder);

// train.bin, test.bin and fine_label_names.txt; the labels are the fine ones, of 100 classes. As cifar10_source.
[[nodiscard]] Source cifar100_source(const std::filesystem::path& folder);

}  // namespace anact::data
