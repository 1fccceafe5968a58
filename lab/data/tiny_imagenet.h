// Tiny ImageNet (Stanford's CS231N, tiny-imagenet-200.zip): 64x64 JPEG images.
#pragma once

#include <filesystem>

#include "data/source.h"

namespace anact::data {

// The set in its own folder, or a part of it: the classes are the WordNet identifiers in wnids.txt, in that order,
// named as in words.txt. Training images are train/WNID/images/*, test images val/images/*, in the order and with the
// labels of val/val_annotations.txt; what belongs to classes that wnids.txt leaves out is passed over. Throws
// std::runtime_error that names the file, the line and what was expected.
[[nodiscard]] Source tiny_imagenet_source(const std::filesystem::path& path);

}  // namespace anact::data
