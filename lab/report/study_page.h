// The page of a study: one self-contained HTML document, from whatever rows there are.
#pragma once

#include <span>
#include <string>

#include "report/study_rows.h"
#include "report/study_summary.h"

namespace anact::report {

// `rows` are those of the plan, each run once.
[[nodiscard]] std::string study_html(const Study& study, std::span<const StudyRow> rows);

}  // namespace anact::report
