#include "page/interval_chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "page/page_check.h"

namespace anact::page {
namespace {

using test::count;
using test::has;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

IntervalChart chart(std::vector<IntervalLine> lines) { return {"Differences", "points", {{"against it", lines}}}; }

// Where the first interval is drawn, of 1000.
std::pair<double, double> drawn(const std::string& html) {
  const std::string begin = "<path class=\"line\" d=\"M";
  const std::size_t at = html.find(begin) + begin.size();
  return {std::stod(html.substr(at)), std::stod(html.substr(html.find('H', at) + 1))};
}

double middle(const std::string& html) {
  const std::string begin = "<path class=\"spot\" d=\"M";
  return std::stod(html.substr(html.find(begin) + begin.size()));
}

TEST(IntervalChart, DrawsTheIntervalAroundItsValue) {
  // From 0 to 12, with 3 % of room on both sides: 1000/1.06 for 12.
  const std::string html = interval_chart_html(chart({{.name = "a", .value = 9, .half_width = 3, .style = 10}}));
  const double unit = 1000 / 1.06 / 12, zero = 0.03 * 1000 / 1.06;
  EXPECT_NEAR(drawn(html).first, zero + 6 * unit, 0.06);
  EXPECT_NEAR(drawn(html).second, zero + 12 * unit, 0.06);
  EXPECT_NEAR(middle(html), zero + 9 * unit, 0.06);
  EXPECT_TRUE(has(html, "class=\"series-2\"><title>a: +9.00 ± 3.00</title>"));
  EXPECT_TRUE(has(html, "<span style=\"left:2.83%\">0</span>")) << html;
  EXPECT_EQ(test::first_unbalanced(html), "");
}

TEST(IntervalChart, FillsTheDotWhereZeroIsExcluded) {
  const auto hollow = [](double value, double half_width, bool open = false) {
    return count(interval_chart_html(chart({{"a", value, half_width, 0, open}})), "spot inner");
  };
  EXPECT_EQ(hollow(1, 0.5), 0u);
  EXPECT_EQ(hollow(-1, 0.5), 0u);
  EXPECT_EQ(hollow(-1, 0.5, true), 1u);
  EXPECT_EQ(hollow(1, 1), 1u);
  EXPECT_EQ(hollow(-1, 2), 1u);
  EXPECT_EQ(hollow(1, kNone), 1u);
}

TEST(IntervalChart, DrawsNoIntervalWhereThereIsNone) {
  const std::string html = interval_chart_html(chart({{.name = "a", .value = -2, .half_width = kNone}}));
  EXPECT_FALSE(has(html, "class=\"line\""));
  EXPECT_TRUE(has(html, "<title>a: −2.00</title>"));
  EXPECT_FALSE(has(html, "nan"));
}

TEST(IntervalChart, MarksZeroAndHasItInEveryRange) {
  for (const double value : {0.0, 5.0, -5.0, 1e-9, 1e6}) {
    const std::string html =
        interval_chart_html(chart({{.name = "a", .value = value, .half_width = 0}, {.name = "b", .value = value}}));
    EXPECT_EQ(count(html, "class=\"axis\""), 2u) << value;
    EXPECT_TRUE(middle(html) >= 0 && middle(html) <= 1000) << value;
  }
}

TEST(IntervalChart, HasAHeadingAGroupAndLeavesOutEmptyOnes) {
  const std::string html = interval_chart_html(
      {"<title>",
       "x < y",
       {{"first", {{.name = "<a>", .value = 1}}}, {"empty", {}}, {"", {{.name = "b", .value = 2}}}}});
  EXPECT_EQ(count(html, "class=\"group\""), 1u);
  EXPECT_FALSE(has(html, "empty"));
  EXPECT_TRUE(has(html, "aria-label=\"&lt;title&gt;\""));
  EXPECT_TRUE(has(html, "&lt;a&gt;"));
  EXPECT_TRUE(has(html, "x &lt; y"));
  EXPECT_EQ(test::first_unbalanced(html), "");
  EXPECT_EQ(test::first_from_outside(html), "");
  EXPECT_EQ(interval_chart_html({"title", "x", {{"empty", {}}}}), "");
}

}  // namespace
}  // namespace anact::page
