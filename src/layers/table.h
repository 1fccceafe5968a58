// The probe's records as a table: a row a layer, of one step.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "anact/layer_record.h"
#include "page/table.h"

namespace anact::layers {

// Those of the last step that was measured, by layer.
[[nodiscard]] std::vector<LayerRecord> last_step(std::span<const LayerRecord> records);

// Of one step's records: layer, name, kind ("ANAct" for a normalized activation), activation, what goes in and out, and
// what an activation's statistics are. Columns without a value are there, empty.
[[nodiscard]] page::Table layer_rows(std::span<const LayerRecord> records);

// The same for the terminal, which is Markdown as well, without the columns that are empty for all rows.
[[nodiscard]] std::string layer_table(std::span<const LayerRecord> records);

}  // namespace anact::layers
