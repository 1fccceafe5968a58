// Sets that are folders of JPEG and PNG images.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/source.h"

namespace anact::data {

// The names of the images in a folder, sorted. Throws std::runtime_error when there are none, or anything that is not
// named *.jpg, *.jpeg or *.png (in letters of any case), as list_folder does, and for the folders that it finds.
[[nodiscard]] std::vector<std::string> list_images(const std::filesystem::path& folder,
                                                   const std::filesystem::path& tree);

// The set `folder`: PATH/train/CLASS/* and PATH/val/CLASS/*, or PATH/test/CLASS/* where there is no `val`. The classes
// are those of `train`, sorted by name; the other split must have the same. Every image is made a square of image_size
// (scale_and_crop). Throws std::runtime_error that names the folder or the file, std::invalid_argument for a size
// outside 1…1,024.
[[nodiscard]] Source folder_source(const std::filesystem::path& path, std::int64_t image_size);

}  // namespace anact::data
