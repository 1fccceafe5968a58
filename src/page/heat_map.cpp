#include "page/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "page/chart.h"
#include "page/text.h"

namespace anact::page {
namespace {

// User units of the view box; the page scales them.
constexpr double kWidth = 480, kLeft = 44, kRight = 470, kTop = 26;
constexpr double kLabelHeight = 14;

// Colours on either side of the neutral one.
constexpr int kSteps = 6;

std::optional<int> colour_of(double value, double limit) {
  if (std::isnan(value) || value < 0) return std::nullopt;
  const double place = value == 0 ? -1.0 : std::log(value) / std::log(limit);
  return kSteps + static_cast<int>(std::lround(kSteps * std::clamp(place, -1.0, 1.0)));
}

std::string coordinate(double value) { return significant(std::round(100 * value) / 100, 6); }

std::string text_svg(double x, double y, const char* css, const std::string& text) {
  return "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" class=\"" + css + "\">" + escape_html(text) +
         "</text>\n";
}

}  // namespace

double heat_limit(std::span<const double> values) {
  static constexpr std::array<double, 5> limits = {2, 4, 10, 100, 1e4};
  double furthest = 1;
  for (const double value : values) {
    if (std::isfinite(value) && value > 0) furthest = std::max({furthest, value, 1 / value});
  }
  const auto* found = std::lower_bound(limits.begin(), limits.end(), furthest);
  return found == limits.end() ? limits.back() : *found;
}

std::string heat_map_html(const HeatMap& map) {
  const std::size_t rows = map.rows.size(), columns = map.columns.size();
  const bool empty = std::none_of(map.values.begin(), map.values.end(),
                                  [&](double value) { return colour_of(value, map.limit).has_value(); });
  // A few rows are as high as text, a hundred still tell apart.
  const double cell_height = empty ? 0 : std::clamp(220.0 / static_cast<double>(rows), 5.0, 20.0);
  const double cell_width = empty ? 0 : std::min((kRight - kLeft) / static_cast<double>(columns), 48.0);
  const double bottom = kTop + (empty ? 40 : cell_height * static_cast<double>(rows));
  const double height = bottom + 34;
  std::string svg = "<svg class=\"chart\" role=\"img\" viewBox=\"0 0 " + coordinate(kWidth) + " " + coordinate(height) +
                    "\" aria-label=\"" + escape_html(map.title) + "\">\n<title>" + escape_html(map.title) +
                    "</title>\n";
  if (empty) return svg + text_svg(kWidth / 2, height / 2, "middle muted", "No values to draw") + "</svg>\n";

  svg += "<g class=\"cells\">\n";
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      const double value = map.values[row * columns + column];
      const auto colour = colour_of(value, map.limit);
      if (!colour) continue;
      svg += "<rect class=\"h" + std::to_string(*colour) + "\" x=\"" +
             coordinate(kLeft + cell_width * static_cast<double>(column)) + "\" y=\"" +
             coordinate(kTop + cell_height * static_cast<double>(row)) + "\" width=\"" + coordinate(cell_width) +
             "\" height=\"" + coordinate(cell_height) + "\"><title>" +
             escape_html(map.row_names[row] + ", " + map.x_title + " " + map.columns[column] + ": " +
                         significant(value, 4)) +
             "</title></rect>";
    }
    svg += "\n";
  }
  svg += "</g>\n";
  const auto stride = static_cast<std::size_t>(std::ceil(kLabelHeight / cell_height));
  for (std::size_t row = 0; row < rows; row += stride) {
    svg += text_svg(kLeft - 6, kTop + cell_height * (static_cast<double>(row) + 0.5) + 4, "end", map.rows[row]);
  }
  std::size_t longest = 1;
  for (const std::string& label : map.columns) longest = std::max(longest, label.size());
  const auto room =
      static_cast<std::size_t>(cell_width * static_cast<double>(columns) / (9.5 * static_cast<double>(longest) + 8));
  for (const std::size_t column : spread_indices(columns, std::clamp<std::size_t>(room, 1, 8))) {
    svg +=
        text_svg(kLeft + cell_width * (static_cast<double>(column) + 0.5), bottom + 16, "middle", map.columns[column]);
  }
  svg += text_svg(2, 14, "title", map.y_title);
  svg += text_svg(kRight, height - 3, "end title", map.x_title);
  return svg + "</svg>\n";
}

std::string heat_scale_html(double limit) {
  constexpr double kCell = 24, kBarWidth = kCell * (2 * kSteps + 1);
  std::string svg = "<svg class=\"scale\" role=\"img\" viewBox=\"0 0 " + coordinate(kBarWidth + 2) +
                    " 30\" aria-label=\"Colours from " + significant(1 / limit, 3) + " or less to " +
                    significant(limit, 3) + " or more\">\n";
  for (int i = 0; i <= 2 * kSteps; ++i) {
    svg += "<rect class=\"h" + std::to_string(i) + "\" x=\"" + coordinate(1 + kCell * i) + "\" y=\"0\" width=\"" +
           coordinate(kCell) + "\" height=\"12\"/>";
  }
  svg += "\n" + text_svg(1, 27, "", "≤ " + significant(1 / limit, 3)) + text_svg(1 + kBarWidth / 2, 27, "middle", "1") +
         text_svg(1 + kBarWidth, 27, "end", "≥ " + significant(limit, 3));
  return svg + "</svg>\n";
}

}  // namespace anact::page
