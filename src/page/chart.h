// Line charts and scatter plots as inline SVG. Colours are CSS classes (series-0 … series-7, shade-0 … shade-5), so
// that the page decides how they look in light and in dark; every chart scales with its box.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace anact::page {

struct Point {
  double x = 0;
  double y = 0;  // not finite: a gap
  // The edges of the band or of the error bar; none without one.
  std::optional<double> low = std::nullopt;
  std::optional<double> high = std::nullopt;
  // The same across, of a marker.
  std::optional<double> x_low = std::nullopt;
  std::optional<double> x_high = std::nullopt;
  std::string label = {};  // what the tooltip calls the point; else the series' name
};

enum class Stroke {
  by_style,  // the style's dash pattern, with a dot at each point
  solid,     // a line without dots
  dashed,
  markers,  // no line: a marker in the style's shape at each point, with error bars
};

struct Series {
  std::string name;
  std::vector<Point> points = {};  // x ascending, but for markers
  std::size_t style = 0;           // colour, and dash pattern or shape
  bool shade = false;              // styles are then steps of one colour, light to dark
  bool broken_off = false;         // a cross marks the last point
  Stroke stroke = Stroke::by_style;
  bool hollow = false;  // of markers
};

struct Chart {
  std::string title;  // what is seen, for readers who do not see it
  std::string x_title;
  std::string y_title;
  bool log_y = false;
  std::optional<std::pair<double, double>> y_range = std::nullopt;  // to share one between charts; else from the points
  std::vector<Series> series = {};
  bool log_x = false;
  std::optional<std::pair<double, double>> x_range = std::nullopt;  // likewise
  bool whole_x = true;                                              // x counts whole things, unless it is logarithmic
  bool thin = false;                                                // for many lines
};

inline constexpr std::size_t kSeriesColours = 8;
inline constexpr std::size_t kShades = 6;

struct Tick {
  double value = 0;
  std::string label;
};

// Ticks within [low, high], at round values, about `count` of them.
[[nodiscard]] std::vector<Tick> linear_ticks(double low, double high, int count);

// Powers of ten, or 1, 2 and 5 times these over a short range.
[[nodiscard]] std::vector<Tick> log_ticks(double low, double high);

// What is drawn of all these series, bands included; none when nothing is.
[[nodiscard]] std::optional<std::pair<double, double>> y_extent(const std::vector<Series>& series, bool log_y,
                                                                bool log_x = false);

// The same across.
[[nodiscard]] std::optional<std::pair<double, double>> x_extent(const std::vector<Series>& series, bool log_x,
                                                                bool log_y = false);

// An <svg> element, and a <p class="note"> after it when points were left out.
[[nodiscard]] std::string chart_html(const Chart& chart);

// `count` of the indices below `size`, or all of them: evenly spread, the first and the last among them.
[[nodiscard]] std::vector<std::size_t> spread_indices(std::size_t size, std::size_t count);

// A <ul class="legend">.
[[nodiscard]] std::string legend_html(const std::vector<Series>& series);

}  // namespace anact::page
