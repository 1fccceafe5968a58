// Comma-separated values, RFC 4180.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/words.h"

namespace anact::text {

// The text as one field: in quotation marks where it holds a comma, a quotation mark or the end of a line.
[[nodiscard]] inline std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  return field + '"';
}

// A row of these fields, with its end of line.
[[nodiscard]] inline std::string csv_row(const std::vector<std::string>& fields) {
  std::string row;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) row += ',';
    row += csv_field(fields[i]);
  }
  row += '\n';
  return row;
}

// A table that was read, with the checks that its readers share. All that throw throw std::runtime_error, which names
// the source, the line and, where there is one, the column: "'runs.csv', line 3, column 'lr': expected …".
class CsvTable {
 public:
  // `source` is what errors call the text. Lines end in \n or \r\n, the last one may lack it. Throws for text without a
  // header, for a row that is shorter or longer than the header, and for quotation marks where they cannot be.
  CsvTable(std::string_view text, std::string_view source) : source_(source) {
    Cursor cursor{text};
    if (text.empty()) fail(1, "expected a header, found the end of the text");
    header_ = read_row(cursor);
    while (cursor.at < text.size()) {
      lines_.push_back(cursor.line);
      rows_.push_back(read_row(cursor));
      const std::size_t found = rows_.back().size();
      if (found != header_.size()) {
        fail(lines_.back(), "expected " + std::to_string(header_.size()) + " fields, found " + std::to_string(found));
      }
    }
  }

  [[nodiscard]] const std::vector<std::string>& header() const { return header_; }
  [[nodiscard]] std::size_t size() const { return rows_.size(); }
  [[nodiscard]] const std::string& text(std::size_t row, std::size_t column) const { return rows_[row][column]; }

  // "inf", "-inf" and "nan" are numbers.
  [[nodiscard]] double number(std::size_t row, std::size_t column) const {
    return parsed<double>(row, column, "a number");
  }
  [[nodiscard]] std::int64_t integer(std::size_t row, std::size_t column) const {
    return parsed<std::int64_t>(row, column, "a whole number");
  }
  [[nodiscard]] bool boolean(std::size_t row, std::size_t column) const {
    const std::string& field = text(row, column);
    if (field != "true" && field != "false") fail_field(row, column, "true or false");
    return field == "true";
  }

  [[noreturn]] void fail_at(std::size_t row, std::size_t column, const std::string& message) const {
    fail(lines_[row], message, column);
  }
  // "expected …, found …".
  [[noreturn]] void fail_field(std::size_t row, std::size_t column, const std::string& expected) const {
    const std::string& field = text(row, column);
    fail_at(row, column, "expected " + expected + ", found " + (field.empty() ? "nothing" : '"' + field + '"'));
  }
  [[noreturn]] void fail_header(const std::string& message) const { fail(1, message); }

 private:
  struct Cursor {
    std::string_view text;
    std::size_t at = 0;
    std::size_t line = 1;
  };

  std::vector<std::string> read_row(Cursor& cursor) const {
    const std::size_t line = cursor.line;
    std::vector<std::string> fields;
    do {
      fields.push_back(read_field(cursor, line));
    } while (cursor.at < cursor.text.size() && cursor.text[cursor.at++] == ',');
    return fields;
  }

  // Stops before the comma or the end of the line, of which it passes over a carriage return.
  std::string read_field(Cursor& cursor, std::size_t line) const {
    const std::string_view text = cursor.text;
    std::string field;
    if (cursor.at < text.size() && text[cursor.at] == '"') {
      for (++cursor.at;; ++cursor.at) {
        if (cursor.at == text.size()) fail(line, "a quotation mark is not closed");
        if (text[cursor.at] == '"' && (++cursor.at == text.size() || text[cursor.at] != '"')) break;
        if (text[cursor.at] == '\n') ++cursor.line;
        field += text[cursor.at];
      }
    } else {
      const std::size_t end = std::min(text.find_first_of(",\n\"", cursor.at), text.size());
      field = text.substr(cursor.at, end - cursor.at);
      cursor.at = end;
      const bool line_ends = end == text.size() || text[end] == '\n';
      if (line_ends && field.ends_with('\r')) field.pop_back();
    }
    if (cursor.at < text.size() && text[cursor.at] == '\r') ++cursor.at;
    if (cursor.at < text.size() && text[cursor.at] != ',' && text[cursor.at] != '\n') {
      fail(line, "a quotation mark within a field");
    }
    if (cursor.at < text.size() && text[cursor.at] == '\n') ++cursor.line;
    return field;
  }

  template <typename T>
  T parsed(std::size_t row, std::size_t column, const char* expected) const {
    const std::string& field = text(row, column);
    const auto value = text::number<T>(field);
    if (!value) fail_field(row, column, expected);
    return *value;
  }

  [[noreturn]] void fail(std::size_t line, const std::string& message, std::size_t column = std::string::npos) const {
    std::string place = "'" + source_ + "', line " + std::to_string(line);
    if (column < header_.size()) place += ", column '" + header_[column] + "'";
    throw std::runtime_error(place + ": " + message);
  }

  std::string source_;
  std::vector<std::string> header_;
  std::vector<std::size_t> lines_;  // where each row begins, from 1
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace anact::text
