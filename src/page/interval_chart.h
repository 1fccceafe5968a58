// Values with their intervals, one a line under each other, on one axis that begins nowhere: zero is marked.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace anact::page {

struct IntervalLine {
  std::string name;
  double value = 0;       // finite
  double half_width = 0;  // of the interval; not finite: none is drawn
  std::size_t style = 0;  // colour
  bool open = false;      // hollow in any case
};

// A heading, empty for none, and what stands under it.
struct IntervalGroup {
  std::string heading;
  std::vector<IntervalLine> lines;
};

struct IntervalChart {
  std::string title;  // what is seen, for readers who do not see it
  std::string x_title;
  std::vector<IntervalGroup> groups;
};

// A table, each line of which is a row with an <svg> of its own, so that names are as wide as they need be. The dot is
// hollow where the interval includes zero or is not drawn. Nothing for a chart without lines.
[[nodiscard]] std::string interval_chart_html(const IntervalChart& chart);

}  // namespace anact::page
