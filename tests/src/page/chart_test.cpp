#include "page/chart.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "page/page_check.h"

namespace anact::page {
namespace {

using test::count;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> found;
  for (const Tick& tick : ticks) found.push_back(tick.label);
  return found;
}

Chart chart_of(const std::vector<double>& values, bool log_y) {
  Chart chart{"what is seen", "layer", "size", log_y, std::nullopt, {{"one", {}}}};
  for (const double value : values) chart.series[0].points.push_back({double(chart.series[0].points.size()), value});
  return chart;
}

using Labels = std::vector<std::string>;

TEST(Ticks, LinearAreRound) {
  EXPECT_EQ(labels(linear_ticks(0, 1, 5)), (Labels{"0", "0.2", "0.4", "0.6", "0.8", "1"}));
  EXPECT_EQ(labels(linear_ticks(-0.13, 0.31, 5)), (Labels{"-0.1", "0", "0.1", "0.2", "0.3"}));
  EXPECT_EQ(labels(linear_ticks(0.5, 20.5, 8)), (Labels{"5", "10", "15", "20"}));
  EXPECT_TRUE(linear_ticks(1, 1, 5).empty());
}

TEST(Ticks, LogArePowersOverLongRangesAndOneTwoFiveOverShort) {
  EXPECT_EQ(labels(log_ticks(0.04, 3)), (Labels{"0.05", "0.1", "0.2", "0.5", "1", "2"}));
  EXPECT_EQ(labels(log_ticks(0.9e-3, 2)), (Labels{"0.001", "0.01", "0.1", "1"}));
  EXPECT_EQ(labels(log_ticks(1e-10, 5)), (Labels{"10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"}));
  EXPECT_EQ(labels(log_ticks(1.1, 1.6)), (Labels{"1.2", "1.4", "1.6"}));
  EXPECT_LE(log_ticks(1e-300, 1e300).size(), 8u);
}

TEST(Chart, DrawsALineAndItsTitleOnce) {
  const std::string svg = chart_html(chart_of({1, 2, 3}, false));
  EXPECT_EQ(count(svg, "<polyline"), 1u);
  EXPECT_EQ(count(svg, "role=\"img\""), 1u);
  EXPECT_EQ(count(svg, "aria-label=\"what is seen\""), 1u);
  EXPECT_EQ(count(svg, "<title>what is seen</title>"), 1u);
  EXPECT_EQ(count(svg, "class=\"note\""), 0u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(Chart, PutsValuesWhereTheAxisSays) {
  Chart chart = chart_of({1, 100, 10}, true);
  const std::string svg = chart_html(chart);
  // On a log axis 10 lies half way between 1 and 100, which lie 4/108 of the height (28 to 246) from its edges.
  EXPECT_NE(svg.find("cy=\"137\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("cy=\"237.9\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("cy=\"36.1\""), std::string::npos) << svg;
}

TEST(Chart, SaysThatItIsEmpty) {
  EXPECT_NE(chart_html(Chart{}).find("No values to draw"), std::string::npos);
  EXPECT_NE(chart_html(chart_of({}, true)).find("No values to draw"), std::string::npos);
  EXPECT_NE(chart_html(chart_of({0, -1}, true)).find("No values to draw"), std::string::npos);
  EXPECT_NE(chart_html(chart_of({kNan}, false)).find("No values to draw"), std::string::npos);
}

TEST(Chart, DrawsOnePointAndConstants) {
  const std::string point = chart_html(chart_of({5}, false));
  EXPECT_EQ(count(point, "<circle"), 1u);
  EXPECT_EQ(count(point, "<polyline"), 0u);
  for (const bool log : {false, true}) {
    for (const double value : {1.0, 1e-200, 1e200}) {
      const std::string svg = chart_html(chart_of({value, value}, log));
      EXPECT_EQ(count(svg, "<polyline"), 1u);
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_NE(svg.find("class=\"end\""), std::string::npos) << "no tick at " << value;
    }
  }
  EXPECT_EQ(count(chart_html(chart_of({0, 0}, false)), "<polyline"), 1u);
}

TEST(Chart, BearsRangesFromTheLeastToTheGreatestNumber) {
  for (const auto& values :
       std::vector<std::vector<double>>{{5e-324, 9e299}, {5e-324, 5e-324}, {1, 1 + 1e-15}, {9e299, 9.1e299}}) {
    for (const bool log : {false, true}) {
      const std::string svg = chart_html(chart_of(values, log));
      EXPECT_EQ(count(svg, "<polyline"), 1u);
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
      EXPECT_LE(count(svg, "class=\"grid\""), 10u) << svg;
    }
  }
  EXPECT_EQ(count(chart_html(chart_of({-9e299, 9e299}, false)), "<polyline"), 1u);
}

TEST(Chart, LeavesAGapWhereAValueIsNotFinite) {
  const std::string svg = chart_html(chart_of({1, 2, kNan, 3, 4, kInf, 5, 1e308}, false));
  EXPECT_EQ(count(svg, "<polyline"), 2u);
  EXPECT_EQ(count(svg, "<circle"), 5u);
  EXPECT_NE(svg.find("Not drawn: 3 points that are not finite."), std::string::npos);
}

TEST(Chart, DropsZerosOnALogAxisAndSaysSo) {
  const std::string svg = chart_html(chart_of({1, 0, 2, 3}, true));
  EXPECT_EQ(count(svg, "<circle"), 3u);
  EXPECT_NE(svg.find("Not drawn: 1 point at or below zero, which a logarithmic axis cannot show."), std::string::npos);
  EXPECT_EQ(count(chart_html(chart_of({1, 0, 2, 3}, false)), "<circle"), 4u);
}

TEST(Chart, DrawsBandsDownToTheEdgeWhenTheyReachZeroOnALogAxis) {
  Chart chart = chart_of({1, 2}, true);
  chart.series[0].points[0].low = 0;
  chart.series[0].points[0].high = 4;
  chart.series[0].points[1].low = 1;
  chart.series[0].points[1].high = 4;
  const std::string svg = chart_html(chart);
  EXPECT_EQ(count(svg, "<polygon class=\"band\""), 1u);
  EXPECT_NE(svg.find(",246\"/>"), std::string::npos) << svg;
  EXPECT_EQ(y_extent(chart.series, true), std::pair(1.0, 4.0));
  EXPECT_EQ(y_extent(chart.series, false), std::pair(0.0, 4.0));
}

TEST(Chart, MarksWhereALineBreaksOff) {
  Chart chart = chart_of({1, 2}, false);
  EXPECT_EQ(count(chart_html(chart), "class=\"cross\""), 0u);
  chart.series[0].broken_off = true;
  EXPECT_EQ(count(chart_html(chart), "class=\"cross\""), 1u);
}

TEST(Chart, EscapesNames) {
  Chart chart = chart_of({1}, false);
  chart.title = "<script>\"";
  chart.y_title = "<b>";
  chart.series[0].name = "<i>&";
  const std::string svg = chart_html(chart) + legend_html(chart.series);
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_EQ(svg.find("<b>"), std::string::npos);
  EXPECT_EQ(svg.find("<i>&"), std::string::npos);
  EXPECT_NE(svg.find("aria-label=\"&lt;script&gt;&quot;\""), std::string::npos);
}

TEST(Legend, TellsEveryStyleApartByColourAndDash) {
  std::vector<std::string> looks;
  for (std::size_t style = 0; style < 2 * kSeriesColours; ++style) {
    std::string look = legend_html({{"arm", {}, style}});
    const std::string key = "data-series=\"a" + std::to_string(style) + "\"";
    ASSERT_NE(look.find(key), std::string::npos);
    look.replace(look.find(key), key.size(), "");
    EXPECT_EQ(std::count(looks.begin(), looks.end(), look), 0) << style;
    looks.push_back(look);
  }
}

TEST(Chart, DrawsMarkersWithoutALine) {
  Chart chart = chart_of({1, 2, kNan, 4}, false);
  chart.series[0].stroke = Stroke::markers;
  chart.series[0].points[1].label = "<b>fc2</b>";
  const std::string svg = chart_html(chart);
  EXPECT_EQ(count(svg, "<polyline"), 0u);
  EXPECT_EQ(count(svg, "<path class=\"marker\""), 3u);
  EXPECT_EQ(count(svg, "class=\"bar\""), 0u);
  EXPECT_EQ(count(svg, "<title>&lt;b&gt;fc2&lt;/b&gt;: layer 1, 2</title>"), 1u) << svg;
  EXPECT_EQ(count(svg, "<title>one: layer 0, 1</title>"), 1u);
  chart.series[0].hollow = true;
  EXPECT_EQ(count(chart_html(chart), "<path class=\"marker hollow\""), 3u);
}

TEST(Chart, DrawsErrorBarsOfMarkersWithinTheAxes) {
  Chart chart;
  chart.series = {{.name = "one",
                   .points = {{.x = 5, .y = 5, .low = 0, .high = 10, .x_low = 0, .x_high = 10}, {.x = 4, .y = 6}},
                   .stroke = Stroke::markers}};
  const std::string svg = chart_html(chart);
  // The bars alone span both axes: 10/10.8 of 52 to 470 and of 246 to 28, about the middles 261 and 137.
  EXPECT_EQ(count(svg, "<path class=\"bar\" d=\"M261,237.9V36.1M67.5,137H454.5\"/>"), 1u) << svg;
  EXPECT_EQ(count(svg, "class=\"bar\""), 1u);
}

TEST(Chart, DrawsSolidAndDashedLinesWithoutDots) {
  for (const Stroke stroke : {Stroke::solid, Stroke::dashed}) {
    Chart chart = chart_of({1, 2, kNan, 4}, false);
    chart.series[0].stroke = stroke;
    chart.series[0].style = 1;  // whose own pattern it does not take
    const std::string svg = chart_html(chart);
    EXPECT_EQ(count(svg, "<polyline"), 1u);
    EXPECT_EQ(count(svg, "<title>one</title></polyline>"), 1u);
    EXPECT_EQ(count(svg, "<circle"), 1u) << "the point without a neighbour";
    EXPECT_EQ(count(svg, "stroke-dasharray"), stroke == Stroke::dashed ? 1u : 0u);
    EXPECT_EQ(count(legend_html(chart.series), "stroke-dasharray"), stroke == Stroke::dashed ? 1u : 0u);
  }
}

TEST(Chart, HasALogarithmicAxisAcross) {
  Chart chart;
  chart.log_x = true;
  chart.series = {{.name = "one", .points = {{1, 1}, {10, 2}, {100, 3}, {0, 9}, {kInf, 9}}, .stroke = Stroke::markers}};
  const std::string svg = chart_html(chart);
  EXPECT_EQ(count(svg, "<path class=\"marker\""), 3u);
  EXPECT_EQ(count(svg, "M261,"), 1u) << "10 lies half way between 1 and 100: " << svg;
  EXPECT_EQ(count(svg, ">0</text>"), 0u);
  EXPECT_NE(
      svg.find("Not drawn: 1 point at or below zero, which a logarithmic axis cannot show and 1 point that is not "
               "finite."),
      std::string::npos)
      << svg;
  EXPECT_EQ(y_extent(chart.series, false, true), std::pair(1.0, 3.0)) << "what is not drawn does not count";
}

TEST(Chart, TakesARangeThatItShares) {
  Chart chart = chart_of({1, 3}, false);
  chart.x_range = std::pair(-1.0, 3.0);
  chart.y_range = std::pair(1.0, 3.0);
  const std::string svg = chart_html(chart);
  // 0 lies at 1.16 of 4.32 from the edge at 52, 1 at the half of what lies between 52 and 470.
  EXPECT_NE(svg.find("cx=\"164.2\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("cx=\"261\""), std::string::npos) << svg;
  EXPECT_EQ(x_extent(chart.series, false), std::pair(0.0, 1.0));
  EXPECT_EQ(x_extent(chart.series, true), std::pair(1.0, 1.0));
  EXPECT_FALSE(x_extent({}, false));
}

TEST(Chart, NumbersOnlyWholeThingsAcrossUnlessToldOtherwise) {
  Chart chart;
  chart.series = {{.name = "one", .points = {{0, 1}, {1, 2}}}};
  EXPECT_EQ(count(chart_html(chart), ">0.5</text>"), 0u);
  chart.whole_x = false;
  chart.series[0].points[0].y = chart.series[0].points[1].y = 7;
  EXPECT_EQ(count(chart_html(chart), ">0.4</text>"), 1u) << chart_html(chart);
}

TEST(Chart, NamesThinLines) {
  Chart chart = chart_of({1, 2}, false);
  chart.thin = true;
  const std::string svg = chart_html(chart);
  EXPECT_EQ(count(svg, "class=\"chart thin\""), 1u);
  EXPECT_EQ(count(svg, "<title>one</title></polyline>"), 1u);
  EXPECT_EQ(count(svg, "<circle"), 0u);
}

TEST(SpreadIndices, HaveBothEndsAndEvenSteps) {
  using Indices = std::vector<std::size_t>;
  EXPECT_EQ(spread_indices(0, 3), Indices{});
  EXPECT_EQ(spread_indices(5, 0), Indices{});
  EXPECT_EQ(spread_indices(5, 1), Indices{0});
  EXPECT_EQ(spread_indices(3, 9), (Indices{0, 1, 2}));
  EXPECT_EQ(spread_indices(11, 3), (Indices{0, 5, 10}));
  EXPECT_EQ(spread_indices(200, 60).size(), 60u);
  EXPECT_EQ(spread_indices(200, 60).back(), 199u);
}

TEST(Legend, TellsEveryMarkerApartByColourAndShape) {
  std::vector<std::string> looks;
  for (std::size_t style = 0; style < 3 * kSeriesColours; ++style) {
    std::string look = legend_html({{.name = "family", .style = style, .stroke = Stroke::markers}});
    const std::string key = "data-series=\"a" + std::to_string(style) + "\"";
    ASSERT_NE(look.find(key), std::string::npos);
    look.replace(look.find(key), key.size(), "");
    EXPECT_EQ(std::count(looks.begin(), looks.end(), look), 0) << style;
    looks.push_back(look);
  }
}

}  // namespace
}  // namespace anact::page
