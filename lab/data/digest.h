// Digests of files, to tell whether they are what was published.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace anact::data {

// How far a long task is, in bytes; `of` is 0 where that is not known. May be empty.
using ByteProgress = std::function<void(std::int64_t done, std::int64_t of)>;

// A digest as sets publish it.
struct Digest {
  std::string algorithm;  // md5 or sha256
  std::string value;      // hexadecimal, in lower case
};

// The text's digest in lower-case hexadecimal. Throws std::invalid_argument for another algorithm.
[[nodiscard]] std::string text_digest(std::string_view text, const std::string& algorithm);

// The file's digest in lower-case hexadecimal. Throws std::invalid_argument for another algorithm and
// std::runtime_error that names the file and the system's reason.
[[nodiscard]] std::string file_digest(const std::filesystem::path& path, const std::string& algorithm,
                                      const ByteProgress& progress = {});

// Throws std::runtime_error that names the file, its digest and the expected one, unless they agree.
void check_digest(const std::filesystem::path& path, const Digest& expected, const ByteProgress& progress = {});

}  // namespace anact::data
