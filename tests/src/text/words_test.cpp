#include "text/words.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

namespace anact::text {
namespace {

TEST(Join, PutsTheSeparatorBetween) {
  EXPECT_EQ(join(std::vector<std::string>{}), "");
  EXPECT_EQ(join(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(join(std::vector<std::string>{"", "b", ""}), ", b, ");
  EXPECT_EQ(join(std::vector<std::string_view>{"a", "b", "c"}, " or "), "a or b or c");
}

TEST(Shortest, IsReadBackAsTheSameNumber) {
  EXPECT_EQ(shortest(0.1), "0.1");
  EXPECT_EQ(shortest(10), "10");
  for (const double value : {1.0 / 3, 0.1 + 0.2, 5e-324, std::numeric_limits<double>::max()}) {
    EXPECT_EQ(std::strtod(shortest(value).c_str(), nullptr), value);
  }
  EXPECT_EQ(shortest(std::numeric_limits<double>::infinity()), "inf");
}

TEST(Format, IsPrintfs) {
  EXPECT_EQ(format("%d of %s, %.2f", 3, "four", 0.125), "3 of four, 0.12");
  EXPECT_EQ(format("%s", std::string(1000, 'x').c_str()), std::string(511, 'x'));
}

}  // namespace
}  // namespace anact::text
