// A file that only grows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace anact::io {

class AppendFile {
 public:
  // Creates the file or empties it; with `size`, opens the file and cuts it to its first `size` bytes. Throws
  // std::runtime_error that names the path and the system's reason, and when the file is shorter than `size`;
  // std::invalid_argument for a negative one.
  explicit AppendFile(std::filesystem::path path, std::optional<std::int64_t> size = std::nullopt);
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  ~AppendFile();

  // Throws as the constructor does; what was written of `content` is then taken back.
  void append(std::string_view content);

  // Puts what was appended on the disk.
  void flush();

  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::int64_t size_ = 0;
};

}  // namespace anact::io
