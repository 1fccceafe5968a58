#include "report/report.h"

#include "io/atomic_file.h"
#include "report/html.h"
#include "report/run.h"
#include "report/summary.h"

namespace anact::report {

void write_report(const std::filesystem::path& run_folder) {
  const Run run = load_run(run_folder);
  io::write_file(run_folder / "summary.csv", summary_csv(run));
  io::write_file(run_folder / "report.html", report_html(run));
}

}  // namespace anact::report
