#include <cstdint>
#include <stdexcept>

#include "kernels/cpu/highway.h"
#include "kernels/kernels.h"

namespace anact::kernels {

std::string instruction_set() {
  // The lowest bit that is both compiled in and supported is what Highway dispatches to.
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(targets & -targets);
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0; targets &= targets - 1) {
    names.emplace_back(hwy::TargetName(targets & -targets));
  }
  return names;
}

void use_instruction_set(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  std::int64_t chosen = 0;
  std::string known;
  for (std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0; targets &= targets - 1) {
    const std::int64_t target = targets & -targets;
    if (name == hwy::TargetName(target)) chosen = target;
    known += (known.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
  }
  if (chosen == 0 && !name.empty()) {
    throw std::invalid_argument("unknown instruction set '" + name + "'; this processor has " + known);
  }
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace anact::kernels
