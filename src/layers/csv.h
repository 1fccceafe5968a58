// The probe's records as comma-separated values.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anact/layer_record.h"

namespace anact::layers {

// RFC 4180 with '\n' at each line's end: a header with the names of layer_columns(), then a row a record. A number is
// written with as many digits as it takes to be read back as the same; what was not measured is empty.
[[nodiscard]] std::string layer_csv(std::span<const LayerRecord> records);

// What layer_csv() wrote; the columns may be in another order. `source` is what errors call the text. Throws
// std::runtime_error that names the source, the line, the column and what was expected there.
[[nodiscard]] std::vector<LayerRecord> parse_layer_csv(std::string_view text, std::string_view source);

}  // namespace anact::layers
