// What the runs.csv of every study has.
#pragma once

#include <cstdint>
#include <span>

#include "text/csv.h"

namespace anact::report {

// Throws std::runtime_error unless the header begins with these columns and, without `more`, ends with them.
void check_columns(const text::CsvTable& table, std::span<const char* const> columns, bool more);

// A name that is not empty, a seed, and the status "completed" or "diverged". Each throws std::runtime_error, naming
// the place, for anything else.
[[nodiscard]] const std::string& name_at(const text::CsvTable& table, std::size_t row, std::size_t column);
[[nodiscard]] std::uint64_t seed_at(const text::CsvTable& table, std::size_t row, std::size_t column);
[[nodiscard]] bool diverged_at(const text::CsvTable& table, std::size_t row, std::size_t column);

// A number; where a run that diverged has none, NaN.
[[nodiscard]] double number_of(const text::CsvTable& table, std::size_t row, std::size_t column, bool diverged);

}  // namespace anact::report
