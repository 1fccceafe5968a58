// The files that a training writes as it goes on. docs/run-folder.md is the contract.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "io/append_file.h"
#include "io/json_lines.h"

namespace anact::train {

// How far each of the growing files has come, in bytes.
struct Sizes {
  std::int64_t metrics = 0;
  std::int64_t table = 0;
  std::int64_t log = 0;
};
void to_json(nlohmann::ordered_json& json, const Sizes& sizes);
void from_json(const nlohmann::ordered_json& json, Sizes& sizes);

// Throws std::runtime_error that names the file unless each file of a folder has at least this size.
void check_sizes(const std::filesystem::path& folder, const Sizes& sizes);

// metrics.jsonl, metrics.csv and log.txt.
class RunFolder {
 public:
  // Creates the files, or with `sizes` cuts them to what they were. Throws as io::AppendFile does.
  explicit RunFolder(const std::filesystem::path& folder, const std::optional<Sizes>& sizes = std::nullopt);

  // A line of metrics.jsonl; an event `epoch` is a row of metrics.csv too.
  void event(const nlohmann::json& event);

  // A line of log.txt; the end of the line is added.
  void log(const std::string& line);

  // Puts all that was written on the disk.
  void flush();

  [[nodiscard]] Sizes sizes() const;

 private:
  io::JsonLines metrics_;
  io::AppendFile table_;
  io::AppendFile log_;
};

// JSON as a document's text. What came from outside, such as a path, need not be the UTF-8 that JSON is made of.
[[nodiscard]] std::string json_text(const nlohmann::ordered_json& value);

}  // namespace anact::train
