// What is said of a name that there is not.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace anact {

// The names of a table's rows.
template <class Rows>
[[nodiscard]] std::vector<std::string_view> names_of(const Rows& rows) {
  std::vector<std::string_view> names;
  for (const auto& row : rows) names.push_back(row.name);
  return names;
}

// "; did you mean unit, input", of up to `count` known names that are near; nothing when none is.
[[nodiscard]] std::string did_you_mean(std::string_view name, std::span<const std::string_view> known,
                                       std::size_t count = 3, std::string_view separator = ", ");

// "unknown network 'resnet51'; did you mean resnet50, resnet56; there are mlp, cnn, resnet50, resnet56"
[[nodiscard]] std::string unknown_choice(std::string_view what, std::string_view name,
                                         std::span<const std::string_view> known, std::size_t count = 3);

// The same of a library's option:
// 'unknown target "unti"; expected one of damped, input, unit (did you mean unit?)'
[[nodiscard]] std::string unknown_name(std::string_view what, std::string_view name,
                                       std::span<const std::string_view> known);

}  // namespace anact
