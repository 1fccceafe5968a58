// A file of one JSON object a line that grows as a program runs.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace anact::io {

// A number as JSON can hold it: non-finite ones as "nan", "inf" and "-inf".
[[nodiscard]] nlohmann::json number(double value);

class JsonLines {
 public:
  // Creates the file, or empties it. Throws std::runtime_error that names the path and the system's reason.
  explicit JsonLines(std::filesystem::path path);
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;
  ~JsonLines();

  // Appends one whole line. Throws as the constructor does; what was written of the line is then taken back.
  void append(const nlohmann::json& object);

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::int64_t size_ = 0;
};

}  // namespace anact::io
