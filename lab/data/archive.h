// Archives that data sets come in.
#pragma once

#include <cstdint>
#include <filesystem>

#include "data/digest.h"

namespace anact::data {

struct UnpackOptions {
  std::int64_t most_bytes = std::int64_t{4} << 30;  // of all files together
  std::int64_t most_entries = 1'000'000;
  ByteProgress progress;  // in bytes of the archive
};

// Unpacks a .tar, .tar.gz or .zip file whose entries all lie in one folder named as `folder` is, and puts that in
// place: whole, or not at all. While that goes on, a hidden folder beside it holds what is there.
//
// Throws std::runtime_error that names the archive, the entry and what was expected: for damage, for an absolute path,
// "..", a link, a device or an entry twice, for more than the options allow, when `folder` exists, and with the
// system's reason when a file cannot be written.
void unpack(const std::filesystem::path& archive, const std::filesystem::path& folder,
            const UnpackOptions& options = {});

}  // namespace anact::data
