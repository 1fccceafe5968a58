#include "page/table.h"

#include <algorithm>

#include "page/chart.h"
#include "page/text.h"

namespace anact::page {
namespace {

// Code points, which for the names in use is what a terminal shows.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string cell_html(const Cell& cell) {
  if (cell.text.empty()) return "<span class=\"pm\">–</span>";
  std::string html;
  if (cell.swatch)
    html += "<span class=\"swatch series-" + std::to_string(*cell.swatch % kSeriesColours) + "\"></span>";
  html += escape_html(cell.text);
  if (!cell.interval.empty()) html += " <span class=\"pm\">± " + escape_html(cell.interval) + "</span>";
  return html;
}

std::string cell_text(const Cell& cell) {
  if (cell.text.empty()) return "–";
  return plain_cell(cell.text) + (cell.interval.empty() ? "" : " ± " + plain_cell(cell.interval));
}

}  // namespace

std::string plain_cell(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '|') safe += '\\';
    safe += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return safe;
}

std::string table_html(const Table& table, const std::string& label) {
  std::string html = "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"" + escape_html(label) +
                     "\">\n<table>\n<thead><tr>";
  for (const Column& column : table.columns) {
    const bool left = column.left || &column == &table.columns.front();
    html +=
        std::string("<th") + (left ? " class=\"left\"" : "") + " scope=\"col\">" + escape_html(column.title) + "</th>";
  }
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string css = row[i].css.empty() && table.columns[i].left ? "left" : row[i].css;
      if (i == 0) {
        html += "<th scope=\"row\">" + cell_html(row[i]) + "</th>";
      } else {
        html += "<td" + (css.empty() ? "" : " class=\"" + css + "\"") + ">" + cell_html(row[i]) + "</td>";
      }
    }
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table>\n</div>\n";
}

std::string table_markdown(const Table& table) {
  const std::size_t count = table.columns.size();
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : table.columns) lines.front().push_back(plain_cell(column.title));
  for (const auto& row : table.rows) {
    lines.emplace_back();
    for (const Cell& cell : row) lines.back().push_back(cell_text(cell));
  }
  std::vector<std::size_t> widths(count, 2);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < count; ++i) widths[i] = std::max(widths[i], width(line[i]));
  }
  std::string text;
  for (std::size_t row = 0; row < lines.size(); ++row) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::string padding(widths[i] - width(lines[row][i]), ' ');
      text += "| " + (table.columns[i].left ? lines[row][i] + padding : padding + lines[row][i]) + " ";
    }
    text += "|\n";
    if (row > 0) continue;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string rule(widths[i] + 1, '-');
      text += table.columns[i].left ? "|:" + rule : "|" + rule + ":";
    }
    text += "|\n";
  }
  return text;
}

void drop_empty_columns(Table& table) {
  for (std::size_t i = table.columns.size(); i-- > 0;) {
    const auto empty = [&](const std::vector<Cell>& row) { return row[i].text.empty(); };
    if (!std::all_of(table.rows.begin(), table.rows.end(), empty)) continue;
    const auto at = static_cast<std::ptrdiff_t>(i);
    table.columns.erase(table.columns.begin() + at);
    for (auto& row : table.rows) row.erase(row.begin() + at);
  }
}

}  // namespace anact::page
