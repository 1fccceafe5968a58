// Writes what is computed from a run folder into it.
#pragma once

#include <filesystem>

namespace anact::report {

// Writes summary.csv and report.html, each whole or not at all. Throws std::runtime_error as load_run does.
void write_report(const std::filesystem::path& run_folder);

}  // namespace anact::report
