// Files that are either whole or not there.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace anact::io {

// Writes `content` aside, flushes it to the disk and renames it over `path`, so that a reader never sees a part of it.
// Throws std::runtime_error that names the path and the system's reason; the old file is then unchanged.
void write_file(const std::filesystem::path& path, std::string_view content);

// The same for a content that lies in several places of memory.
void write_file(const std::filesystem::path& path, std::span<const std::string_view> parts);

// Removes from `folder` and all below it what write_file left aside when its process was killed. Of no use while
// another process writes there. Throws std::filesystem::filesystem_error.
void remove_unfinished(const std::filesystem::path& folder);

// The whole file. Throws std::runtime_error that names the path and the system's reason.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

}  // namespace anact::io
