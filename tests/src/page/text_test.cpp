#include "page/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace anact::page {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(Text, WritesNumbersTheSameEverywhere) {
  EXPECT_EQ(fixed(1234.5678, 2), "1234.57");
  EXPECT_EQ(fixed(kNan, 2), "nan");
  EXPECT_EQ(fixed(-kInf, 2), "-inf");
  EXPECT_EQ(significant(1.0 / 3, 6), "0.333333");
  EXPECT_EQ(significant(1e-7, 6), "1e-07");
  EXPECT_EQ(signed_fixed(0.126, 2), "+0.13");
  EXPECT_EQ(signed_fixed(-0.126, 2), "−0.13");
  EXPECT_EQ(signed_fixed(-0.001, 2), "0.00");
  EXPECT_EQ(exact(0.1), "0.1");
  EXPECT_EQ(exact(5e-324), "5e-324");
  EXPECT_EQ(exact(1.0 / 3), "0.3333333333333333");
  EXPECT_EQ(exact(-kInf), "-inf");
  EXPECT_EQ(percent(0.12345), "12.35");
  EXPECT_EQ(percent(std::nullopt), "");
  EXPECT_EQ(counted(0, "arm"), "0 arms");
  EXPECT_EQ(counted(1, "arm"), "1 arm");
  EXPECT_EQ(enumerate({}), "");
  EXPECT_EQ(enumerate({"a", "b", "c"}), "a, b and c");
}

TEST(Text, EscapesWhatHtmlTakesForMarkup) {
  EXPECT_EQ(escape_html("<a href='x'>\"&\x01\n"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\uFFFD\n");
}

}  // namespace
}  // namespace anact::page
