// Numbers and names as text, the same under every locale.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace anact::page {

// "0.25"; "nan", "inf" and "-inf" for what is not finite.
[[nodiscard]] std::string fixed(double value, int decimals);

// "+0.25" or "−0.25" (U+2212), and "0.00" for what rounds to zero.
[[nodiscard]] std::string signed_fixed(double value, int decimals);

// The shortest form with so many significant digits: "0.25", "1e-07".
[[nodiscard]] std::string significant(double value, int digits);

// The fewest digits that are read back as the same number, at most 17: "0.1", "1e-300".
[[nodiscard]] std::string exact(double value);

// "1 arm", "2 arms".
[[nodiscard]] std::string counted(std::size_t count, const std::string& noun);

// A fraction in percent, "97.50"; nothing of none.
[[nodiscard]] std::string percent(const std::optional<double>& fraction);

// "a, b and c".
[[nodiscard]] std::string enumerate(const std::vector<std::string>& items);

// Safe as an element's text and inside a quoted attribute.
[[nodiscard]] std::string escape_html(std::string_view text);

}  // namespace anact::page
