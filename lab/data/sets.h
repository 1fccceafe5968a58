// The data sets that there are, and how each is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace anact::data {

struct SetInfo {
  std::string_view name;
  std::string_view title;   // what it is, for a list
  std::string_view folder;  // where it lies in the data folder, by its official name
};

// digits, mnist, fashion-mnist, cifar10, cifar100, tiny-imagenet, folder.
[[nodiscard]] std::span<const SetInfo> sets();

// Throws std::invalid_argument that names the nearest ones when there is no such set.
[[nodiscard]] const SetInfo& find_set(std::string_view name);

// Where the set lies: in the first of data_folders() that has it. Throws std::runtime_error that names all places
// tried.
[[nodiscard]] std::filesystem::path find_path(const SetInfo& set);

struct OpenOptions {
  // The set's own folder, or for the digits the file; empty: looked for in data_folders().
  std::filesystem::path path;
  std::filesystem::path cache;  // the folder of the cache; empty: cache_folder()
  // The side of the images, which are shrunk to it by area; of the set `folder`, whose images are scaled and cropped to
  // this square. 0: the set's own, for `folder` 64.
  std::int64_t image_size = 0;
  std::function<void(std::int64_t done, std::int64_t of)> progress;  // while images are decoded; may be empty
};

// Reads the set, or maps its cache into memory, which is made when it is not there or its sources have changed. Throws
// std::runtime_error that names the file, the place in it and what was expected.
[[nodiscard]] Dataset open(std::string_view name, const OpenOptions& options = {});

// The folders in which data sets are looked for: the one that ANACT_DATA names if it is set, else the one the build was
// told of, then share/anact beside the program.
[[nodiscard]] std::vector<std::filesystem::path> data_folders();

// ANACT_CACHE, else anact in XDG_CACHE_HOME, else ~/.cache/anact.
[[nodiscard]] std::filesystem::path cache_folder();

}  // namespace anact::data
