// Arms against their baselines: how the comparisons of a run folder and of a study are put into words.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "page/table.h"
#include "report/statistics.h"

namespace anact::report {

struct Comparison {
  std::string arm;
  std::string baseline;                  // empty: none
  std::optional<Difference> difference;  // in test accuracy after the last epoch
  std::string no_difference;             // why there is none
};

// "+0.25 ± 0.10", in percentage points.
[[nodiscard]] std::string points(const Difference& difference);

// The same, with ▲ or ▼ before it where the interval excludes zero; the reason where there is no difference.
[[nodiscard]] page::Cell difference_cell(const Comparison& comparison);

// What they show: every arm that has a baseline is named once, or counted where many have no difference for one reason.
[[nodiscard]] std::string comparison_text(std::span<const Comparison> comparisons);

}  // namespace anact::report
