#include "report/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "report/text.h"

namespace anact::report {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

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

TEST(Text, WritesNumbersTheSameEverywhere) {
  EXPECT_EQ(fixed(1234.5678, 2), "1234.57");
  EXPECT_EQ(fixed(kNan, 2), "nan");
  EXPECT_EQ(fixed(-kInf, 2), "-inf");
  EXPECT_EQ(significant(1.0 / 3, 6), "0.333333");
  EXPECT_EQ(significant(1e-7, 6), "1e-07");
  EXPECT_EQ(signed_fixed(0.126, 2), "+0.13");
  EXPECT_EQ(signed_fixed(-0.126, 2), "−0.13");
  EXPECT_EQ(signed_fixed(-0.001, 2), "0.00");
  EXPECT_EQ(enumerate({}), "");
  EXPECT_EQ(enumerate({"a", "b", "c"}), "a, b and c");
}

}  // namespace
}  // namespace anact::report
