// The IDX format of MNIST (yann.lecun.com/exdb/mnist, "The IDX file format"): big-endian, two zero bytes, the type 8
// (unsigned byte), the number of dimensions, each dimension in four bytes, then the values.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/source.h"

namespace anact::data {

// A set in the four files of MNIST, each compressed by gzip (.gz) or not: {train,t10k}-images-idx3-ubyte and
// {train,t10k}-labels-idx1-ubyte. Images of any height and width up to 4,096, the same in both splits. Throws
// std::runtime_error that names the file when one of them is not there.
[[nodiscard]] Source idx_source(std::string name, const std::filesystem::path& folder,
                                std::vector<std::string> class_names);

}  // namespace anact::data
