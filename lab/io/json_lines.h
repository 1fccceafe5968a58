// A file of one JSON object a line that grows as a program runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/append_file.h"

namespace anact::io {

// A number as JSON can hold it: non-finite ones as "nan", "inf" and "-inf".
[[nodiscard]] nlohmann::json number(double value);

class JsonLines {
 public:
  // As AppendFile's constructor.
  explicit JsonLines(std::filesystem::path path, std::optional<std::int64_t> size = std::nullopt);

  // Appends one whole line. Throws as AppendFile::append does; what was written of the line is then taken back.
  void append(const nlohmann::json& object);

  void flush() { file_.flush(); }
  [[nodiscard]] std::int64_t size() const { return file_.size(); }

 private:
  AppendFile file_;
};

}  // namespace anact::io
