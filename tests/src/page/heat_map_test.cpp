#include "page/heat_map.h"

#include <gtest/gtest.h>

#include <limits>

#include "page/page_check.h"

namespace anact::page {
namespace {

using test::count;
using test::has;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

HeatMap map_of(std::size_t rows, std::size_t columns, double value) {
  HeatMap map{.title = "what is seen", .x_title = "step", .y_title = "layer"};
  for (std::size_t i = 0; i < rows; ++i) {
    map.rows.push_back(std::to_string(2 * i));
    map.row_names.push_back("act" + std::to_string(i));
  }
  for (std::size_t i = 0; i < columns; ++i) map.columns.push_back(std::to_string(50 * i));
  map.values.assign(rows * columns, value);
  return map;
}

TEST(HeatLimit, IsTheLeastThatHoldsAFactorAndItsReciprocal) {
  EXPECT_EQ(heat_limit({}), 2);
  EXPECT_EQ(heat_limit(std::vector{1.0, 0.5, kNan}), 2);
  EXPECT_EQ(heat_limit(std::vector{0.3}), 4);
  EXPECT_EQ(heat_limit(std::vector{1.0, 4.1}), 10);
  EXPECT_EQ(heat_limit(std::vector{1e-9, 0.0, kInf}), 1e4);
}

TEST(HeatMap, IsNeutralAtOneAndSymmetricOnTheLogScale) {
  HeatMap map = map_of(1, 7, 1);
  map.limit = 4;
  map.values = {0, 0.25, 0.5, 1, 2, 4, kInf};
  const std::string svg = heat_map_html(map);
  std::size_t at = 0;
  for (const char* colour : {"h0", "h0", "h3", "h6", "h9", "h12", "h12"}) {
    at = svg.find("<rect class=\"", at) + 13;
    EXPECT_EQ(svg.substr(at, svg.find('"', at) - at), colour) << svg;
  }
  EXPECT_TRUE(has(svg, "<title>act0, step 100: 0.5</title>")) << svg;
}

TEST(HeatMap, LeavesCellsWithoutAValueOut) {
  HeatMap map = map_of(2, 2, 1);
  map.values[1] = kNan;
  EXPECT_EQ(count(heat_map_html(map), "<rect"), 3u);
}

TEST(HeatMap, SaysThatItIsEmpty) {
  EXPECT_TRUE(has(heat_map_html(map_of(0, 0, 1)), "No values to draw"));
  EXPECT_TRUE(has(heat_map_html(map_of(2, 3, kNan)), "No values to draw"));
}

TEST(HeatMap, BearsOneCellAndThousands) {
  for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{1, 1}, {100, 60}, {1, 60}, {100, 1}}) {
    const std::string svg = heat_map_html(map_of(rows, columns, 1.5));
    EXPECT_EQ(count(svg, "<rect"), rows * columns);
    EXPECT_EQ(test::first_unbalanced(svg), "");
    EXPECT_LE(count(svg, "<text"), 8u + 36 + 2) << "labels do not lie on each other";
    EXPECT_FALSE(has(svg, "nan"));
  }
}

TEST(HeatMap, EscapesNames) {
  HeatMap map = map_of(1, 1, 1);
  map.title = map.rows[0] = map.row_names[0] = map.columns[0] = "<script>\"";
  EXPECT_FALSE(has(heat_map_html(map), "<script>"));
}

TEST(HeatScale, NamesItsEnds) {
  const std::string svg = heat_scale_html(4);
  EXPECT_TRUE(has(svg, ">≤ 0.25<"));
  EXPECT_TRUE(has(svg, ">≥ 4<"));
  EXPECT_EQ(count(svg, "<rect"), 13u);
}

}  // namespace
}  // namespace anact::page
