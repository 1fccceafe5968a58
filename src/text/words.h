// Words and numbers as text.
#pragma once

#include <array>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

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

// The number that the whole text is; nothing where it is none or too large for its type.
template <class Number>
[[nodiscard]] std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
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
