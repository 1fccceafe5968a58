#include "cli/training.h"

namespace anact::cli {

void add_study(CLI::App&, const std::vector<std::string>&, int&) {}

}  // namespace anact::cli
