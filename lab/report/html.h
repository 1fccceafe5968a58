// The report: one self-contained page, complete without a network and without scripts.
#pragma once

#include <string>

#include "report/run.h"

namespace anact::report {

[[nodiscard]] std::string report_html(const Run& run);

}  // namespace anact::report
