#include "page/interval_chart.h"

#include <algorithm>
#include <cmath>

#include "page/chart.h"
#include "page/text.h"

namespace anact::page {
namespace {

// User units of a line's view box, which is stretched to the width that there is.
constexpr double kWidth = 1000, kHeight = 24;

struct Range {
  double low = 0, high = 0;

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  [[nodiscard]] double at(double value) const { return (value - low) / (high - low); }
};

// Zero, and room at both ends.
Range range_of(const IntervalChart& chart) {
  Range range;
  for (const IntervalGroup& group : chart.groups) {
    for (const IntervalLine& line : group.lines) {
      range.include(line.value);
      if (!std::isfinite(line.half_width)) continue;
      range.include(line.value - line.half_width);
      range.include(line.value + line.half_width);
    }
  }
  const double width = range.high - range.low;
  const double room = width > 0 ? 0.03 * width : 1;
  return {range.low - room, range.high + room};
}

std::string x_of(const Range& range, double value) { return fixed(kWidth * range.at(value), 1); }

std::string grid_svg(const Range& range, const std::vector<Tick>& ticks) {
  std::string svg;
  for (const Tick& tick : ticks) {
    svg += std::string("<path class=\"") + (tick.value == 0 ? "axis" : "grid") + "\" d=\"M" + x_of(range, tick.value) +
           " 0v" + fixed(kHeight, 0) + "\"/>";
  }
  return svg;
}

std::string line_svg(const IntervalLine& line, const Range& range) {
  const bool drawn = std::isfinite(line.half_width);
  const std::string middle = " " + fixed(kHeight / 2, 0);
  std::string svg = "<g class=\"series-" + std::to_string(line.style % kSeriesColours) + "\"><title>" +
                    escape_html(line.name) + ": " + signed_fixed(line.value, 2) +
                    (drawn ? " ± " + fixed(line.half_width, 2) : "") + "</title>";
  if (drawn) {
    svg += "<path class=\"line\" d=\"M" + x_of(range, line.value - line.half_width) + middle + "H" +
           x_of(range, line.value + line.half_width) + "\"/>";
  }
  // A line of no length with round ends: a circle however the box is stretched.
  const std::string dot = "\" d=\"M" + x_of(range, line.value) + middle + "h0\"/>";
  svg += "<path class=\"spot" + dot;
  if (line.open || !drawn || std::abs(line.value) <= line.half_width) svg += "<path class=\"spot inner" + dot;
  return svg + "</g>";
}

}  // namespace

std::string interval_chart_html(const IntervalChart& chart) {
  const Range range = range_of(chart);
  const auto ticks = linear_ticks(range.low, range.high, 6);
  std::string rows;
  for (const IntervalGroup& group : chart.groups) {
    if (group.lines.empty()) continue;
    if (!group.heading.empty()) {
      rows += "<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"2\">" + escape_html(group.heading) + "</th></tr>\n";
    }
    for (const IntervalLine& line : group.lines) {
      rows += "<tr><th scope=\"row\">" + escape_html(line.name) +
              "</th><td><svg role=\"img\" preserveAspectRatio=\"none\" viewBox=\"0 0 " + fixed(kWidth, 0) + " " +
              fixed(kHeight, 0) + "\">" + grid_svg(range, ticks) + line_svg(line, range) + "</svg></td></tr>\n";
    }
  }
  if (rows.empty()) return "";
  std::string axis;
  for (const Tick& tick : ticks) {
    axis += "<span style=\"left:" + fixed(100 * range.at(tick.value), 2) + "%\">" + escape_html(tick.label) + "</span>";
  }
  return "<table class=\"intervals\" aria-label=\"" + escape_html(chart.title) + "\">\n<tbody>\n" + rows +
         "</tbody>\n<tfoot><tr><th></th><td><div class=\"ticks\">" + axis + "</div>" + escape_html(chart.x_title) +
         "</td></tr></tfoot>\n</table>\n";
}

}  // namespace anact::page
