// Files that may be compressed by gzip.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace anact::data {

// Reads a file's content from its beginning, decompressed if it is compressed. Every member throws std::runtime_error
// that names the path and, where the compressed data is damaged or ends early, how far it could be read.
class GzipFile {
 public:
  explicit GzipFile(std::filesystem::path path);

  // Fills `bytes`, or less where the content ends; returns how many.
  std::size_t read(std::span<std::uint8_t> bytes);

  // The largest size that the content may have, whatever it declares: deflate makes at most 1,032 bytes of one.
  [[nodiscard]] std::uint64_t largest_size();

 private:
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
  std::uint64_t position_ = 0;
};

// The whole content. Throws as GzipFile does, and when it has more than `limit` bytes: the message's end is then
// `expectation`.
[[nodiscard]] std::string read_gzip(const std::filesystem::path& path, std::size_t limit,
                                    const std::string& expectation);

}  // namespace anact::data
