// Tables: filled once, written as HTML, and as Markdown that is aligned for the terminal as well.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace anact::page {

struct Column {
  std::string title;
  bool left = false;  // else numbers, to the right
};

struct Cell {
  std::string text;                                  // empty: nothing to say, shown as a dash
  std::string interval = {};                         // what follows after "±"
  std::string css = {};                              // in a page, one of sure, bad and reason
  std::optional<std::size_t> swatch = std::nullopt;  // in a page, a dot in the colour of this style
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // as long as columns; the first cell names the row
};

// A <table> in a region of its own that scrolls sideways; `label` is what the region is called.
[[nodiscard]] std::string table_html(const Table& table, const std::string& label);

// A bar in a cell is escaped, and control characters, which would move the cursor, are replaced.
[[nodiscard]] std::string table_markdown(const Table& table);

// What no row has a value for is left out.
void drop_empty_columns(Table& table);

// Text as it may stand on a terminal and in a Markdown cell.
[[nodiscard]] std::string plain_cell(const std::string& text);

}  // namespace anact::page
