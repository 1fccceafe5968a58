#include "page/table.h"

#include <gtest/gtest.h>

#include "page/page_check.h"

namespace anact::page {
namespace {

Table example() {
  return {{{"arm", true}, {"loss"}, {"note", true}, {"more"}},
          {{{.text = "a|b", .swatch = 9}, {"1.5", "0.25"}, {""}, {""}},
           {{"second\n"}, {.text = "10", .css = "bad"}, {"<none>"}, {""}}}};
}

TEST(TableMarkdown, IsAlignedAndKeepsTheTerminalWhole) {
  EXPECT_EQ(table_markdown(example()),
            "| arm     |       loss | note   | more |\n"
            "|:--------|-----------:|:-------|-----:|\n"
            "| a\\|b    | 1.5 ± 0.25 | –      |    – |\n"
            "| second? |         10 | <none> |    – |\n");
}

TEST(TableMarkdown, OfNoRowsIsAHeader) { EXPECT_EQ(table_markdown({{{"arm", true}}, {}}), "| arm |\n|:----|\n"); }

TEST(TableHtml, HasACellForEveryValue) {
  EXPECT_EQ(table_html(example(), "All \"arms\""),
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"All &quot;arms&quot;\">\n<table>\n"
            "<thead><tr><th class=\"left\" scope=\"col\">arm</th><th scope=\"col\">loss</th>"
            "<th class=\"left\" scope=\"col\">note</th><th scope=\"col\">more</th></tr></thead>\n<tbody>\n"
            "<tr><th scope=\"row\"><span class=\"swatch series-1\"></span>a|b</th>"
            "<td>1.5 <span class=\"pm\">± 0.25</span></td><td class=\"left\"><span class=\"pm\">–</span></td>"
            "<td><span class=\"pm\">–</span></td></tr>\n"
            "<tr><th scope=\"row\">second\n</th><td class=\"bad\">10</td><td class=\"left\">&lt;none&gt;</td>"
            "<td><span class=\"pm\">–</span></td></tr>\n"
            "</tbody>\n</table>\n</div>\n");
}

TEST(DropEmptyColumns, KeepsWhatOneRowHas) {
  Table table = example();
  drop_empty_columns(table);
  ASSERT_EQ(table.columns.size(), 3u);
  EXPECT_EQ(table.columns[2].title, "note");
  for (const auto& row : table.rows) EXPECT_EQ(row.size(), 3u);
}

}  // namespace
}  // namespace anact::page
