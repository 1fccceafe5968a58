#include "report/study_page.h"

#include <algorithm>
#include <limits>
#include <string>

namespace anact::report {

void check_columns(const text::CsvTable& table, std::span<const char* const> columns, bool more) {
  const auto& header = table.header();
  const std::string end = "the end of the line";
  const std::size_t count = more ? columns.size() : std::max(columns.size(), header.size());
  for (std::size_t i = 0; i < count; ++i) {
    const std::string found = i < header.size() ? "'" + header[i] + "'" : end;
    const std::string expected = i < columns.size() ? "'" + std::string(columns[i]) + "'" : end;
    if (found != expected) {
      table.fail_header("column " + std::to_string(i + 1) + ": expected " + expected + ", found " + found);
    }
  }
}

const std::string& name_at(const text::CsvTable& table, std::size_t row, std::size_t column) {
  if (table.text(row, column).empty()) table.fail_field(row, column, "a name");
  return table.text(row, column);
}

std::uint64_t seed_at(const text::CsvTable& table, std::size_t row, std::size_t column) {
  const std::int64_t seed = table.integer(row, column);
  if (seed < 0) table.fail_field(row, column, "a whole number from 0 up");
  return static_cast<std::uint64_t>(seed);
}

bool diverged_at(const text::CsvTable& table, std::size_t row, std::size_t column) {
  const std::string& status = table.text(row, column);
  if (status != "completed" && status != "diverged") table.fail_field(row, column, "completed or diverged");
  return status == "diverged";
}

double number_of(const text::CsvTable& table, std::size_t row, std::size_t column, bool diverged) {
  if (diverged && table.text(row, column).empty()) return std::numeric_limits<double>::quiet_NaN();
  return table.number(row, column);
}

}  // namespace anact::report
