// What is said of a name that there is not.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace anact {

// 'unknown target "unti"; expected one of damped, input, unit (did you mean unit?)'
[[nodiscard]] std::string unknown_name(std::string_view what, std::string_view name,
                                       std::span<const std::string_view> known);

}  // namespace anact
