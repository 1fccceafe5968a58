#include "io/json_lines.h"

#include <cmath>
#include <utility>

namespace anact::io {

nlohmann::json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

JsonLines::JsonLines(std::filesystem::path path, std::optional<std::int64_t> size) : file_(std::move(path), size) {}

void JsonLines::append(const nlohmann::json& object) { file_.append(object.dump() + "\n"); }

}  // namespace anact::io
