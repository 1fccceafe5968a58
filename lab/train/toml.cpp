// A configuration as TOML.

#include "train/toml.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "math/names.h"
#include "text/words.h"
#include "train/config.h"

namespace anact::train {
namespace {

// The shortest text that reads as the same double.
std::string number_text(double value) {
  auto text = text::shortest(value);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::toml_formatter(toml::value(text), toml::toml_formatter::default_flags &
                                                        ~toml::format_flags::allow_literal_strings &
                                                        ~toml::format_flags::allow_multi_line_strings);
  return stream.str();
}

template <class Value>
std::string value_text(const Value& value) {
  if constexpr (std::is_same_v<Value, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<Value, double>) {
    return number_text(value);
  } else if constexpr (std::is_same_v<Value, std::int64_t>) {
    return std::to_string(value);
  } else if constexpr (std::is_same_v<Value, std::string>) {
    return quoted(value);
  } else {
    std::vector<std::string> items;
    for (const auto& item : value) items.push_back(value_text(item));
    return std::string("[").append(text::join(items)).append("]");
  }
}

// What a TOML node is expected to be, in words.
template <class Value>
constexpr const char* expected() {
  if constexpr (std::is_same_v<Value, bool>) {
    return "true or false";
  } else if constexpr (std::is_same_v<Value, double>) {
    return "a number";
  } else if constexpr (std::is_same_v<Value, std::int64_t>) {
    return "a whole number";
  } else if constexpr (std::is_same_v<Value, std::string>) {
    return "a text";
  } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
    return "an array of texts";
  } else {
    return "an array of whole numbers";
  }
}

// Whether the node is of the type; takes its value over if so.
template <class Value>
bool take(const toml::node& node, Value& value) {
  if constexpr (std::is_same_v<Value, double>) {
    const auto number = node.is_number() ? node.value<double>() : std::nullopt;
    if (number) value = *number;
    return number.has_value();
  } else if constexpr (std::is_same_v<Value, bool> || std::is_same_v<Value, std::int64_t> ||
                       std::is_same_v<Value, std::string>) {
    const auto exact = node.value_exact<Value>();
    if (exact) value = *exact;
    return exact.has_value();
  } else {
    const auto* array = node.as_array();
    if (array == nullptr) return false;
    Value items;
    for (const auto& item : *array) {
      if (!take(item, items.emplace_back())) return false;
    }
    value = std::move(items);
    return true;
  }
}

const Setting* find_setting(std::string_view section, std::string_view name) {
  const auto table = settings();
  const auto found = std::ranges::find_if(
      table, [&](const Setting& setting) { return setting.section == section && setting.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

std::string to_text(const Config& config, const Setting& setting) {
  return std::visit([&](auto member) { return value_text(config.*member); }, setting.member);
}

std::string to_toml(const Config& config) {
  std::string text;
  std::string_view section;
  for (const auto& setting : settings()) {
    if (setting.section != section) {
      section = setting.section;
      text.append(text.empty() ? "[" : "\n[").append(section).append("]\n");
    }
    std::string line(setting.name);
    line.append(" = ").append(to_text(config, setting));
    line.append(line.size() < 32 ? 32 - line.size() : 1, ' ').append("# ").append(setting.help).append("\n");
    text += line;
  }
  return text;
}

// A dotted key makes a table for each dot, and the library's parser and destructor take the stack for each.
void refuse_long_keys(std::string_view text, std::string_view source) {
  constexpr std::size_t kMostDots = 32;
  constexpr std::size_t kLargest = std::size_t{1} << 20;
  if (text.size() > kLargest) {
    throw std::invalid_argument("'" + std::string(source) + "' has " + std::to_string(text.size()) +
                                " bytes; expected at most " + std::to_string(kLargest));
  }
  std::size_t number = 0;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    ++number;
    const auto key = line.substr(0, line.find('='));
    const auto dots = static_cast<std::size_t>(std::ranges::count(key, '.'));
    const auto first = key.find_first_not_of(" \t");
    if (dots > kMostDots && first != key.npos && key[first] != '#') {
      throw std::invalid_argument("'" + std::string(source) + "', line " + std::to_string(number) + ": a key with " +
                                  std::to_string(dots) + " dots; expected at most " + std::to_string(kMostDots));
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
}

toml::table parse_toml(std::string_view text, std::string_view source) {
  refuse_long_keys(text, source);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    fail_at(source, error.source(), std::string(error.description()));
  }
}

void fail_at(std::string_view source, const toml::source_region& place, const std::string& what) {
  throw std::invalid_argument("'" + std::string(source) + "', line " + std::to_string(place.begin.line) + ", column " +
                              std::to_string(place.begin.column) + ": " + what);
}

void apply_sections(Config& config, const toml::table& file, std::string_view source,
                    std::span<const std::string_view> others) {
  std::vector<std::string_view> sections;
  for (const auto& setting : settings()) {
    const bool listed = !sections.empty() && sections.back() == setting.section;
    if (!listed && std::ranges::find(others, setting.section) == others.end()) sections.push_back(setting.section);
  }
  for (const auto& [section, content] : file) {
    if (std::ranges::find(others, section.str()) != others.end()) continue;
    const auto* table = content.as_table();
    if (table == nullptr || std::ranges::find(sections, section.str()) == sections.end()) {
      std::vector<std::string_view> known(sections);
      known.insert(known.end(), others.begin(), others.end());
      fail_at(source, content.source(), unknown_choice("section", section.str(), known));
    }
    for (const auto& [name, node] : *table) {
      const auto* setting = find_setting(section.str(), name.str());
      if (setting == nullptr) {
        std::vector<std::string_view> names;
        for (const auto& other : settings()) {
          if (other.section == section.str()) names.push_back(other.name);
        }
        fail_at(source, node.source(),
                "unknown setting '" + std::string(name.str()) + "'" + did_you_mean(name.str(), names) + "; [" +
                    std::string(section.str()) + "] has " + text::join(names));
      }
      std::visit(
          [&, &node = node, &name = name](auto member) {
            using Value = std::remove_reference_t<decltype(config.*member)>;
            if (!take(node, config.*member)) {
              fail_at(source, node.source(), std::string(name.str()) + ": expected " + expected<Value>());
            }
          },
          setting->member);
    }
  }
}

void apply_toml(Config& config, std::string_view text, std::string_view source) {
  const auto file = parse_toml(text, source);
  if (const auto preset = file["experiment"]["preset"].value<std::string>(); preset && !preset->empty()) {
    try {
      apply_preset(config, *preset);
    } catch (const std::invalid_argument& error) {
      fail_at(source, file["experiment"]["preset"].node()->source(), error.what());
    }
  }
  apply_sections(config, file, source, {});
}

}  // namespace anact::train
