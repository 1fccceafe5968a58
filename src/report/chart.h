// Line charts as inline SVG. Colours are CSS classes (series-0 … series-7, shade-0 … shade-5), so that the page decides
// how they look in light and in dark; every chart scales with its box.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace anact::report {

struct Point {
  double x = 0;
  double y = 0;  // not finite: a gap
  // The band's edges; none without a band.
  std::optional<double> low = std::nullopt;
  std::optional<double> high = std::nullopt;
};

struct Series {
  std::string name;
  std::vector<Point> points;  // x ascending
  std::size_t style = 0;      // colour and dash pattern
  bool shade = false;         // styles are then steps of one colour, light to dark
  bool broken_off = false;    // a cross marks the last point
};

struct Chart {
  std::string title;    // what is seen, for readers who do not see it
  std::string x_title;  // x counts whole things
  std::string y_title;
  bool log_y = false;
  std::optional<std::pair<double, double>> y_range;  // to share one between charts; else from the points
  std::vector<Series> series;
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
[[nodiscard]] std::optional<std::pair<double, double>> y_extent(const std::vector<Series>& series, bool log_y);

// An <svg> element, and a <p class="note"> after it when points were left out.
[[nodiscard]] std::string chart_html(const Chart& chart);

// A <ul class="legend">.
[[nodiscard]] std::string legend_html(const std::vector<Series>& series);

}  // namespace anact::report
