#include "page/text.h"

#include <charconv>
#include <cmath>

namespace anact::page {
namespace {

std::string to_text(double value, std::chars_format format, int precision) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[512];  // 1e308 with all its digits and a few decimals
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value, format, precision);
  return std::string(buffer, result.ptr);
}

}  // namespace

std::string fixed(double value, int decimals) { return to_text(value, std::chars_format::fixed, decimals); }

std::string signed_fixed(double value, int decimals) {
  const std::string digits = fixed(std::abs(value), decimals);
  if (digits.find_first_not_of("0.") == std::string::npos || std::isnan(value)) return digits;
  return (value < 0 ? "−" : "+") + digits;
}

std::string significant(double value, int digits) { return to_text(value, std::chars_format::general, digits); }

std::string exact(double value) {
  if (!std::isfinite(value)) return significant(value, 17);
  char buffer[32];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string percent(const std::optional<double>& fraction) { return fraction ? fixed(100 * *fraction, 2) : ""; }

std::string enumerate(const std::vector<std::string>& items) {
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 < items.size() ? ", " : " and ";
    text += items[i];
  }
  return text;
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default: {
        // HTML has no control characters but these.
        const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
        if (control) {
          escaped += "\uFFFD";
        } else {
          escaped += c;
        }
      }
    }
  }
  return escaped;
}

}  // namespace anact::page
