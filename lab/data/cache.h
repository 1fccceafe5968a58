// Decoded data sets in files of their own, mapped into memory.
//
// A file holds the training pixels, the training labels (int32), the test pixels and the test labels, each from a
// multiple of 64 bytes on; then a record in JSON of all else that a Dataset has, with the CRC-32 of each 4 MiB of what
// comes before it, and at the end the record's size, its CRC-32, the format's version and eight bytes by which the
// format is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "data/source.h"

namespace anact::data {

// The set from its file in `folder`, which is made, by all processors, when it is not there or a byte of it is damaged,
// or when the source's path, its options or a file's size or time of change are not the ones it was made from.
// `progress` may be empty; it is called by this thread alone. Throws what source.read and its parts throw, of several
// images' complaints that of the first, and std::runtime_error that names the folder, the reason and ANACT_CACHE when
// the file cannot be made. Memory that was mapped stays valid when the file is replaced or removed.
[[nodiscard]] Dataset open_cached(const Source& source, const std::filesystem::path& folder,
                                  const std::function<void(std::int64_t done, std::int64_t of)>& progress);

}  // namespace anact::data
