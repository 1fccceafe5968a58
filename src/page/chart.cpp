#include "page/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "page/text.h"

namespace anact::page {
namespace {

// User units of the view box; the page scales them.
constexpr double kWidth = 480, kHeight = 290;
constexpr double kLeft = 52, kRight = 470, kTop = 28, kBottom = 246;

// The second cue beside the colour. Styles past the colours repeat these with another pattern.
constexpr std::array<const char*, kSeriesColours> kDashes = {"",     "7 3",     "2 3",          "9 3 2 3",
                                                             "12 4", "5 2 1 2", "3 2 3 2 10 2", "1 2"};

const char* dash_of(const Series& series) {
  if (series.stroke == Stroke::solid) return "";
  if (series.stroke == Stroke::dashed) return "6 4";
  return series.shade ? "" : kDashes[(series.style + series.style / kSeriesColours) % kDashes.size()];
}

std::string class_of(const Series& series) {
  return series.shade ? "shade-" + std::to_string(std::min(series.style, kShades - 1))
                      : "series-" + std::to_string(series.style % kSeriesColours);
}

std::string key_of(const Series& series) { return (series.shade ? "e" : "a") + std::to_string(series.style); }

bool finite(double value) { return std::abs(value) < 1e300; }  // differences of such values are finite too

bool drawable(double value, bool log) { return finite(value) && (!log || value > 0); }

std::string coordinate(double value) {
  std::string text = fixed(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string superscript(int exponent) {
  static constexpr std::array<const char*, 10> digits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "⁻" : "";
  for (const char c : std::to_string(std::abs(exponent))) text += digits[static_cast<std::size_t>(c - '0')];
  return text;
}

std::string power_label(double mantissa, int exponent, bool plain) {
  if (plain) return significant(mantissa * std::pow(10.0, exponent), 6);
  return (mantissa == 1 ? "" : significant(mantissa, 1) + "·") + "10" + superscript(exponent);
}

// Values to user units along one axis.
class Axis {
 public:
  Axis(double low, double high, bool log, double from, double to)
      : low_(log ? std::log10(low) : low), high_(log ? std::log10(high) : high), log_(log), from_(from), to_(to) {}

  [[nodiscard]] double at(double value) const {
    const double place = log_ ? (value > 0 ? std::log10(value) : low_) : value;
    return from_ + (to_ - from_) * std::clamp((place - low_) / (high_ - low_), 0.0, 1.0);
  }

 private:
  double low_, high_;
  bool log_;
  double from_, to_;
};

// Room around what is drawn. What is constant, or so nearly that labels of six digits could not tell, gets more.
std::pair<double, double> padded(std::pair<double, double> range, bool log) {
  const auto [low, high] = range;
  const bool constant = high - low <= 1e-5 * std::max(std::abs(low), std::abs(high));
  if (log) {
    const double pad = constant ? 2.0 : std::pow(10.0, 0.04 * (std::log10(high) - std::log10(low)));
    return {std::max(low / pad, std::numeric_limits<double>::denorm_min()), std::min(high * pad, 1e307)};
  }
  const double pad = !constant ? 0.04 * (high - low) : (low == 0 ? 1.0 : std::max(0.1 * std::abs(low), 1e-300));
  return {low - pad, high + pad};
}

// Runs of points that are drawn without a gap.
std::vector<std::vector<Point>> segments_of(const Series& series, bool log_x, bool log_y) {
  std::vector<std::vector<Point>> segments(1);
  for (const Point& point : series.points) {
    if (drawable(point.x, log_x) && drawable(point.y, log_y)) {
      segments.back().push_back(point);
    } else if (!segments.back().empty()) {
      segments.emplace_back();
    }
  }
  if (segments.back().empty()) segments.pop_back();
  return segments;
}

std::string place(const Axis& x, const Axis& y, double at_x, double at_y) {
  return coordinate(x.at(at_x)) + "," + coordinate(y.at(at_y));
}

std::string band_svg(const std::vector<Point>& segment, const Axis& x, const Axis& y) {
  std::string upper, lower;
  for (const Point& point : segment) {
    if (!point.low || !point.high || !finite(*point.low) || !finite(*point.high)) continue;
    upper += place(x, y, point.x, *point.high) + " ";
    lower = place(x, y, point.x, *point.low) + " " + lower;
  }
  if (upper.empty()) return "";
  lower.pop_back();
  return "<polygon class=\"band\" points=\"" + upper + lower + "\"/>";
}

std::string line_svg(const std::vector<Point>& segment, const char* dash, const std::string& tooltip, const Axis& x,
                     const Axis& y) {
  std::string svg = "<polyline class=\"line\"";
  if (*dash != '\0') svg += std::string(" stroke-dasharray=\"") + dash + "\"";
  svg += " points=\"";
  for (const Point& point : segment) svg += place(x, y, point.x, point.y) + " ";
  svg.back() = '"';
  if (tooltip.empty()) return svg + "/>";
  return svg + "><title>" + escape_html(tooltip) + "</title></polyline>";
}

std::string error_bars_svg(const Point& point, const Axis& x, const Axis& y) {
  std::string path;
  if (point.low && point.high && finite(*point.low) && finite(*point.high)) {
    path += "M" + place(x, y, point.x, *point.low) + "V" + coordinate(y.at(*point.high));
  }
  if (point.x_low && point.x_high && finite(*point.x_low) && finite(*point.x_high)) {
    path += "M" + place(x, y, *point.x_low, point.y) + "H" + coordinate(x.at(*point.x_high));
  }
  return path.empty() ? "" : "<path class=\"bar\" d=\"" + path + "\"/>";
}

// Around the current point, all of about the same area. The shape is the second cue beside the colour.
std::string marker_path(const Series& series) {
  static constexpr std::array<const char*, 4> shapes = {"m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
                                                        "m-3.2-3.2h6.4v6.4h-6.4z", "m0-4.4l4.4 4.4-4.4 4.4-4.4-4.4z",
                                                        "m0-4.5l4.4 7.6h-8.8z"};
  return shapes[(series.style + series.style / kSeriesColours) % shapes.size()];
}

const char* marker_class(const Series& series) { return series.hollow ? "marker hollow" : "marker"; }

std::string tooltip_of(const Series& series, const Point& point, const std::string& x_title) {
  std::string text = (point.label.empty() ? series.name : point.label) + ": " + x_title + " " +
                     significant(point.x, 6) + ", " + significant(point.y, 4);
  if (point.low && point.high) {
    text += " (" + significant(*point.low, 4) + " to " + significant(*point.high, 4) + ")";
  }
  return "<title>" + escape_html(text) + "</title>";
}

std::string markers_svg(const Series& series, const Chart& chart, const Axis& x, const Axis& y) {
  std::string bars, markers;
  for (const Point& point : series.points) {
    if (!drawable(point.x, chart.log_x) || !drawable(point.y, chart.log_y)) continue;
    bars += error_bars_svg(point, x, y);
    markers += std::string("<path class=\"") + marker_class(series) + "\" d=\"M" + place(x, y, point.x, point.y) +
               marker_path(series) + "\">" + tooltip_of(series, point, chart.x_title) + "</path>";
  }
  return bars + markers;
}

std::string lines_svg(const Series& series, const Chart& chart, const Axis& x, const Axis& y) {
  std::string bands, lines, dots;
  for (const auto& segment : segments_of(series, chart.log_x, chart.log_y)) {
    bands += band_svg(segment, x, y);
    // Dots carry the values as tooltips; on long lines they would only thicken it. A point that has no neighbour is a
    // dot in any case.
    const bool dotted =
        segment.size() == 1 || (series.stroke == Stroke::by_style && series.points.size() <= 40 && !chart.thin);
    if (segment.size() > 1) lines += line_svg(segment, dash_of(series), dotted ? "" : series.name, x, y);
    if (!dotted) continue;
    for (const Point& point : segment) {
      dots += "<circle class=\"dot\" cx=\"" + coordinate(x.at(point.x)) + "\" cy=\"" + coordinate(y.at(point.y)) +
              "\" r=\"2\">" + tooltip_of(series, point, chart.x_title) + "</circle>";
    }
  }
  return bands + lines + dots;
}

std::string series_svg(const Series& series, const Chart& chart, const Axis& x, const Axis& y) {
  const auto segments = segments_of(series, chart.log_x, chart.log_y);
  if (segments.empty()) return "";
  std::string svg = "<g class=\"" + class_of(series) + "\" data-series=\"" + key_of(series) + "\">";
  svg += series.stroke == Stroke::markers ? markers_svg(series, chart, x, y) : lines_svg(series, chart, x, y);
  if (series.broken_off) {
    const Point& last = segments.back().back();
    const double at_x = x.at(last.x), at_y = y.at(last.y);
    svg += "<path class=\"cross\" d=\"M" + coordinate(at_x - 5) + " " + coordinate(at_y - 5) + "l10 10m0-10l-10 10\"/>";
  }
  return svg + "</g>\n";
}

std::string text_svg(double x, double y, const char* css, const std::string& text) {
  return "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" class=\"" + css + "\">" + escape_html(text) +
         "</text>";
}

using Range = std::optional<std::pair<double, double>>;

void include(Range& range, double value, bool log) {
  if (!drawable(value, log)) return;
  range = range ? std::pair(std::min(range->first, value), std::max(range->second, value)) : std::pair(value, value);
}

std::string left_out_html(const Chart& chart) {
  std::size_t not_positive = 0, not_finite = 0;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      if (!finite(point.x) || !finite(point.y)) {
        ++not_finite;
      } else if (!drawable(point.x, chart.log_x) || !drawable(point.y, chart.log_y)) {
        ++not_positive;
      }
    }
  }
  std::vector<std::string> notes;
  const auto add = [&](std::size_t count, const std::string& what) {
    if (count > 0) notes.push_back(std::to_string(count) + (count == 1 ? " point " : " points ") + what);
  };
  add(not_positive, "at or below zero, which a logarithmic axis cannot show");
  add(not_finite, "that " + std::string(not_finite == 1 ? "is" : "are") + " not finite");
  return notes.empty() ? "" : "<p class=\"note\">Not drawn: " + enumerate(notes) + ".</p>\n";
}

}  // namespace

std::vector<Tick> linear_ticks(double low, double high, int count) {
  const double raw = (high - low) / count;
  if (!(raw > 0) || !finite(raw)) return {};
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= raw) step = factor * power;
  }
  std::vector<Tick> ticks;
  // Counted, not summed up, so that 0.30000000000000004 does not appear.
  for (double i = std::ceil(low / step); i * step <= high && ticks.size() < 100; ++i) {
    ticks.push_back({i * step, significant(i == 0 ? 0 : i * step, 6)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double low, double high) {
  const double decades = std::log10(high) - std::log10(low);
  if (decades < 0.5) {
    auto ticks = linear_ticks(low, high, 4);
    std::erase_if(ticks, [](const Tick& tick) { return tick.value <= 0; });
    return ticks;
  }
  const auto first = static_cast<int>(std::floor(std::log10(low)));
  const auto last = static_cast<int>(std::ceil(std::log10(high)));
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 6)));
  const bool plain = first >= -4 && last <= 4;
  std::vector<Tick> ticks;
  for (int exponent = first; exponent <= last; ++exponent) {
    if (exponent % stride != 0) continue;
    for (const double mantissa : {1.0, 2.0, 5.0}) {
      if (mantissa > 1 && decades > 2.5) break;
      const double value = mantissa * std::pow(10.0, exponent);
      if (value >= low && value <= high) ticks.push_back({value, power_label(mantissa, exponent, plain)});
    }
  }
  return ticks;
}

std::optional<std::pair<double, double>> y_extent(const std::vector<Series>& series, bool log_y, bool log_x) {
  Range range;
  for (const Series& one : series) {
    for (const auto& segment : segments_of(one, log_x, log_y)) {
      for (const Point& point : segment) {
        include(range, point.y, log_y);
        if (point.low) include(range, *point.low, log_y);
        if (point.high) include(range, *point.high, log_y);
      }
    }
  }
  return range;
}

std::optional<std::pair<double, double>> x_extent(const std::vector<Series>& series, bool log_x, bool log_y) {
  Range range;
  for (const Series& one : series) {
    for (const auto& segment : segments_of(one, log_x, log_y)) {
      for (const Point& point : segment) {
        include(range, point.x, log_x);
        if (point.x_low) include(range, *point.x_low, log_x);
        if (point.x_high) include(range, *point.x_high, log_x);
      }
    }
  }
  return range;
}

std::vector<std::size_t> spread_indices(std::size_t size, std::size_t count) {
  std::vector<std::size_t> indices;
  count = std::min(size, count);
  for (std::size_t i = 0; i < count; ++i) {
    indices.push_back(count == 1 ? 0 : (2 * i * (size - 1) + (count - 1)) / (2 * (count - 1)));  // rounded
  }
  return indices;
}

std::string chart_html(const Chart& chart) {
  std::string svg = "<svg class=\"chart" + std::string(chart.thin ? " thin" : "") + "\" role=\"img\" viewBox=\"0 0 " +
                    coordinate(kWidth) + " " + coordinate(kHeight) + "\" aria-label=\"" + escape_html(chart.title) +
                    "\">\n<title>" + escape_html(chart.title) + "</title>\n";
  const auto x_range = chart.x_range ? chart.x_range : x_extent(chart.series, chart.log_x, chart.log_y);
  const auto y_range = chart.y_range ? chart.y_range : y_extent(chart.series, chart.log_y, chart.log_x);
  if (!x_range || !y_range) {
    svg += text_svg(kWidth / 2, kHeight / 2, "middle muted", "No values to draw");
    return svg + "</svg>\n" + left_out_html(chart);
  }
  const auto [x_low, x_high] = padded(*x_range, chart.log_x);
  const auto [y_low, y_high] = padded(*y_range, chart.log_y);
  const Axis x(x_low, x_high, chart.log_x, kLeft, kRight);
  const Axis y(y_low, y_high, chart.log_y, kBottom, kTop);

  for (const Tick& tick : chart.log_y ? log_ticks(y_low, y_high) : linear_ticks(y_low, y_high, 5)) {
    const std::string at = coordinate(y.at(tick.value));
    svg += "<path class=\"grid\" d=\"M" + coordinate(kLeft) + " " + at + "H" + coordinate(kRight) + "\"/>";
    svg += text_svg(kLeft - 6, y.at(tick.value) + 4, "end", tick.label) + "\n";
  }
  for (const Tick& tick : chart.log_x ? log_ticks(x_low, x_high) : linear_ticks(x_low, x_high, 8)) {
    if (chart.whole_x && !chart.log_x && tick.value != std::round(tick.value)) continue;
    const std::string at = coordinate(x.at(tick.value));
    svg += "<path class=\"tick\" d=\"M" + at + " " + coordinate(kBottom) + "v4\"/>";
    svg += text_svg(x.at(tick.value), kBottom + 18, "middle", tick.label) + "\n";
  }
  svg += "<path class=\"axis\" d=\"M" + coordinate(kLeft) + " " + coordinate(kBottom) + "H" + coordinate(kRight) +
         "\"/>\n";
  svg += text_svg(2, 14, "title", chart.y_title) + "\n";
  svg += text_svg(kRight, kHeight - 6, "end title", chart.x_title) + "\n";
  for (const Series& series : chart.series) svg += series_svg(series, chart, x, y);
  return svg + "</svg>\n" + left_out_html(chart);
}

std::string legend_html(const std::vector<Series>& series) {
  std::string html = "<ul class=\"legend\">\n";
  for (const Series& one : series) {
    html += "<li class=\"" + class_of(one) + "\" data-series=\"" + key_of(one) +
            "\"><svg class=\"key\" viewBox=\"0 0 32 10\" aria-hidden=\"true\"><path class=\"";
    if (one.stroke == Stroke::markers) {
      html += marker_class(one) + std::string("\" d=\"M16 5") + marker_path(one) + "\"";
    } else {
      html += "line\" d=\"M0 5H32\"";
      if (*dash_of(one) != '\0') html += std::string(" stroke-dasharray=\"") + dash_of(one) + "\"";
    }
    html += "/></svg>" + escape_html(one.name) + "</li>\n";
  }
  return html + "</ul>\n";
}

}  // namespace anact::page
