// Heat maps of factors as inline SVG: 1 is neutral, and a factor and its reciprocal are as far from it.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace anact::page {

struct HeatMap {
  std::string title;  // what is seen, for readers who do not see it
  std::string x_title;
  std::string y_title;
  std::vector<std::string> columns = {};  // labels of the axis; as many as have room are written
  std::vector<std::string> rows = {};
  std::vector<std::string> row_names = {};  // for the tooltips
  std::vector<double> values = {};          // row by row, from 0 up; NaN: no cell
  double limit = 2;                         // the factor from which the colour no longer changes, above 1
};

// The least limit of a few round ones that no value exceeds, nor its reciprocal; zeros and infinities aside.
[[nodiscard]] double heat_limit(std::span<const double> values);

// An <svg> element.
[[nodiscard]] std::string heat_map_html(const HeatMap& map);

// The bar that explains the colours.
[[nodiscard]] std::string heat_scale_html(double limit);

}  // namespace anact::page
