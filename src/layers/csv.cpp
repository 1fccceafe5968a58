#include "layers/csv.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "page/text.h"
#include "text/csv.h"

namespace anact::layers {
namespace {

using Value = LayerColumn::Value;

std::string field_of(const Value& value) {
  return std::visit(
      [](const auto& typed) -> std::string {
        using T = std::decay_t<decltype(typed)>;
        if constexpr (std::is_same_v<T, bool>) {
          return typed ? "true" : "false";
        } else if constexpr (std::is_same_v<T, std::int64_t>) {
          return std::to_string(typed);
        } else if constexpr (std::is_same_v<T, double>) {
          return std::isnan(typed) ? "" : page::exact(typed);
        } else {
          return text::csv_field(typed);
        }
      },
      value);
}

// Of the type that the column holds, which `like` is of.
Value value_of(const text::CsvTable& table, std::size_t row, std::size_t column, const Value& like) {
  if (std::holds_alternative<bool>(like)) return table.boolean(row, column);
  if (std::holds_alternative<std::int64_t>(like)) return table.integer(row, column);
  if (std::holds_alternative<std::string>(like)) return table.text(row, column);
  return table.text(row, column).empty() ? kNotMeasured : table.number(row, column);
}

// For each column of the text the one of layer_columns() that it is.
std::vector<const LayerColumn*> match_columns(const text::CsvTable& table) {
  const auto known = layer_columns();
  std::vector<const LayerColumn*> columns;
  for (const std::string& name : table.header()) {
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const auto& column) { return column.name == name; });
    if (found == known.end()) table.fail_header("unknown column '" + name + "'; expected the columns of a probe's CSV");
    if (std::find(columns.begin(), columns.end(), &*found) != columns.end()) {
      table.fail_header("a second column '" + name + "'");
    }
    columns.push_back(&*found);
  }
  for (const LayerColumn& column : known) {
    if (std::find(columns.begin(), columns.end(), &column) == columns.end()) {
      table.fail_header("expected a column '" + std::string(column.name) + "', which is missing");
    }
  }
  return columns;
}

}  // namespace

std::string layer_csv(std::span<const LayerRecord> records) {
  std::string csv;
  for (const LayerColumn& column : layer_columns()) csv += (csv.empty() ? "" : ",") + std::string(column.name);
  csv += '\n';
  for (const LayerRecord& record : records) {
    for (const LayerColumn& column : layer_columns()) csv += field_of(column.get(record)) + ",";
    csv.back() = '\n';
  }
  return csv;
}

std::vector<LayerRecord> parse_layer_csv(std::string_view text, std::string_view source) {
  const text::CsvTable table(text, source);
  const auto columns = match_columns(table);
  std::vector<LayerRecord> records(table.size());
  for (std::size_t row = 0; row < table.size(); ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const Value value = value_of(table, row, i, columns[i]->get(records[row]));
      try {
        columns[i]->set(records[row], value);
      } catch (const std::invalid_argument& error) {
        table.fail_at(row, i, error.what());
      }
    }
  }
  return records;
}

}  // namespace anact::layers
