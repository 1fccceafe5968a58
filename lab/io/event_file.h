// TensorBoard's event files: scalars only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "io/append_file.h"

namespace anact::io {

// CRC-32C (Castagnoli; RFC 3720, section 12.1) of the bytes.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes);

// A file of TFRecords, each a serialized tensorflow.Event (tensorflow/core/util/event.proto): first the file's version,
// then one event a scalar. TensorBoard looks for files with "tfevents" in their names.
class EventFile {
 public:
  // As AppendFile's constructor; a file without content begins with the version record.
  explicit EventFile(std::filesystem::path path, std::optional<std::int64_t> size = std::nullopt);

  // `wall_time` in seconds since 1970. The format holds the value in single precision. Throws as AppendFile::append
  // does.
  void add_scalar(std::string_view tag, std::int64_t step, double value, double wall_time);

  void flush() { file_.flush(); }
  [[nodiscard]] std::int64_t size() const { return file_.size(); }

 private:
  AppendFile file_;
};

}  // namespace anact::io
