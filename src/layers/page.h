// The probe's page: self-contained, without scripts.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "anact/layer_record.h"

namespace anact::layers {

struct ProbePage {
  std::string title;
  std::vector<std::pair<std::string, std::string>> settings;
  std::span<const LayerRecord> records;  // of any number of steps, in any order
};

// How the signal and the gradient pass through the layers, measured and predicted, at the first and the last step that
// were measured; the normalization property and lambda through training; the last step's table.
[[nodiscard]] std::string probe_html(const ProbePage& page);

}  // namespace anact::layers
