// Files that are either whole or not there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace anact::io {

// Writes `content` aside, flushes it to the disk and renames it over `path`, so that a reader never sees a part of it.
// Throws std::runtime_error that names the path and the system's reason; the old file is then unchanged.
void write_file(const std::filesystem::path& path, std::string_view content);

// The whole file. Throws std::runtime_error that names the path and the system's reason.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

}  // namespace anact::io
