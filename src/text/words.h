// Words and numbers as text.
#pragma once

#include <array>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <string_view>

namespace anact::text {

// "damped, input, unit"
template <class Words>
[[nodiscard]] std::string join(const Words& words, std::string_view separator = ", ") {
  std::string result;
  bool first = true;
  for (const auto& word : words) {
    if (!first) result += separator;
    result += word;
    first = false;
  }
  return result;
}

// The fewest digits that are read back as the same number.
[[nodiscard]] inline std::string shortest(double value) {
  std::array<char, 32> buffer{};
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}

// As printf has it, up to 511 characters.
[[gnu::format(printf, 1, 2)]] [[nodiscard]] inline std::string format(const char* form, ...) {
  va_list arguments;
  va_start(arguments, form);
  std::array<char, 512> result{};
  std::vsnprintf(result.data(), result.size(), form, arguments);
  va_end(arguments);
  return result.data();
}

}  // namespace anact::text
