// JSON from files that anyone may have written.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace anact::io {

// Far more than any file of ours has. A value's destructor, and whoever walks it, takes as much of the stack as it is
// deep.
inline constexpr int kDeepestJson = 64;

static_assert(kDeepestJson == 64, "the message below says so");

class DeepJson : public std::runtime_error {
 public:
  DeepJson() : std::runtime_error("nested deeper than 64 levels") {}
};

// Whether arrays and objects stand in one another more than `deepest` times. The text need not be JSON.
[[nodiscard]] inline bool is_deeper(std::string_view text, int deepest) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == '{' || c == '[')) {
      if (++depth > deepest) return true;
    } else if (!quoted && (c == '}' || c == ']')) {
      --depth;
    }
  }
  return false;
}

// The value in the text. Throws Json::parse_error as the library does, and DeepJson.
template <class Json>
[[nodiscard]] Json parse_json(std::string_view text) {
  if (is_deeper(text, kDeepestJson)) throw DeepJson();
  return Json::parse(text);
}

}  // namespace anact::io
