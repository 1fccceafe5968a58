#include "report/comparison.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "page/text.h"

namespace anact::report {

using page::counted;
using page::enumerate;
using page::percent;

namespace {

constexpr std::size_t kNamed = 8;  // more that lack the same thing are only counted

}  // namespace

std::string points(const Difference& difference) {
  const std::string text = page::signed_fixed(100 * difference.mean, 2);
  return difference.interval ? text + " ± " + percent(difference.interval) : text;
}

page::Cell difference_cell(const Comparison& comparison) {
  if (comparison.baseline.empty()) return {""};
  if (!comparison.difference) return {.text = comparison.no_difference, .css = "reason"};
  const Difference& difference = *comparison.difference;
  const std::string mark = !difference.excludes_zero() ? "" : difference.mean > 0 ? "▲ " : "▼ ";
  return {.text = mark + page::signed_fixed(100 * difference.mean, 2),
          .interval = percent(difference.interval),
          .css = mark.empty() ? "" : "sure"};
}

std::string comparison_text(std::span<const Comparison> comparisons) {
  std::vector<std::string> ahead, behind, open, single;
  std::vector<std::pair<std::string, std::vector<std::string>>> without;  // by reason
  std::size_t fewest = 0, most = 0, left_out = 0;
  for (const Comparison& comparison : comparisons) {
    if (comparison.baseline.empty()) continue;
    if (!comparison.difference) {
      auto same = std::ranges::find(without, comparison.no_difference, [](const auto& one) { return one.first; });
      if (same == without.end()) same = without.insert(same, {comparison.no_difference, {}});
      same->second.push_back(comparison.arm);
      ++left_out;
      continue;
    }
    const Difference& difference = *comparison.difference;
    fewest = most == 0 ? difference.pairs : std::min(fewest, difference.pairs);
    most = std::max(most, difference.pairs);
    if (difference.interval && !difference.excludes_zero()) {
      open.push_back(comparison.arm);
      continue;
    }
    auto& group = !difference.interval ? single : difference.mean > 0 ? ahead : behind;
    group.push_back(comparison.arm + " (" + points(difference) + " against " + comparison.baseline + ")");
  }
  const std::size_t compared = ahead.size() + behind.size() + open.size();
  const std::size_t all = compared + single.size() + left_out;
  if (all == 0) return "No arm has a baseline, so nothing is compared.";
  std::string text;
  const auto sentence = [&](const std::string& words) { text += (text.empty() ? "" : " ") + words; };
  const auto verb = [](const auto& group) { return group.size() == 1 ? " lies " : " lie "; };
  if (compared > 0) {
    sentence("Of " + counted(all, "arm") + " with a baseline, " + std::to_string(ahead.size()) + verb(ahead) +
             "above it in test accuracy after the last epoch by more than the 95 % interval, in percentage points" +
             (ahead.empty() ? "." : ": " + enumerate(ahead) + "."));
    if (!behind.empty()) {
      sentence(std::to_string(behind.size()) + verb(behind) +
               "below it by more than the interval: " + enumerate(behind) + ".");
    }
    if (!open.empty()) {
      sentence("For " + std::to_string(open.size()) +
               " the interval includes zero, so these runs do not tell the arm from its baseline: " + enumerate(open) +
               ".");
    }
  }
  if (!single.empty()) {
    sentence("With a single seed there is no interval, so nothing can be concluded from the difference of " +
             enumerate(single) + ".");
  }
  for (const auto& [reason, arms] : without) {
    const std::string names = arms.size() > kNamed ? counted(arms.size(), "arm") : enumerate(arms);
    sentence("No difference is given for " + names + " (" + reason + ").");
  }
  if (compared > 0) {
    const std::string pairs = (fewest < most ? std::to_string(fewest) + " to " : "") + counted(most, "paired seed");
    sentence("The intervals are Student's t over " + pairs +
             (compared == 1 ? "."
                            : ", each comparison taken alone: nothing is corrected for making " +
                                  std::to_string(compared) + " of them."));
  }
  return text;
}

}  // namespace anact::report
