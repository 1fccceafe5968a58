// Comma-separated values, RFC 4180.
#pragma once

#include <string>
#include <string_view>

namespace anact::io {

// The text as one field: in quotation marks where it holds a comma, a quotation mark or the end of a line.
[[nodiscard]] std::string csv_field(std::string_view text);

}  // namespace anact::io
