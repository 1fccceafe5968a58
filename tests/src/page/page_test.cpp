#include "page/page.h"

#include <gtest/gtest.h>

#include "page/page_check.h"

namespace anact::page {
namespace {

TEST(Element, ClosesTheTagWithoutItsAttributes) {
  EXPECT_EQ(element("p class=\"note\"", "a < b"), "<p class=\"note\">a &lt; b</p>\n");
  EXPECT_EQ(note("a < b"), element("p class=\"note\"", "a < b"));
}

TEST(Part, IsAHeadingBelowASection) { EXPECT_EQ(part("a < b"), "<h3 class=\"part\">a &lt; b</h3>\n"); }

TEST(Facts, PairNamesAndValues) {
  EXPECT_EQ(facts({{"Data", "<digits>"}}), "<dl class=\"facts\">\n<dt>Data</dt>\n<dd>&lt;digits&gt;</dd>\n</dl>\n");
}

TEST(Document, IsWholeWithAndWithoutAScript) {
  const std::string plain = document("<title>", figure("caption", "", panel("one", "<svg></svg>\n"), true));
  EXPECT_EQ(test::first_unbalanced(plain), "");
  EXPECT_EQ(test::first_from_outside(plain), "");
  EXPECT_FALSE(test::has(plain, "<script"));
  EXPECT_TRUE(test::has(plain, "<title>&lt;title&gt;</title>"));
  EXPECT_TRUE(test::has(plain, "prefers-color-scheme: dark"));
  const std::string scripted = document("title", "", "if (1 < 2) {}");
  EXPECT_EQ(test::first_unbalanced(scripted), "");
  EXPECT_TRUE(test::has(scripted, "<script>if (1 < 2) {}</script>"));
}

}  // namespace
}  // namespace anact::page
