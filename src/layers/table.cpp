#include "layers/table.h"

#include <algorithm>
#include <cmath>

#include "page/text.h"

namespace anact::layers {
namespace {

page::Cell number(double value) { return {std::isnan(value) ? "" : page::significant(value, 4)}; }

}  // namespace

std::vector<LayerRecord> last_step(std::span<const LayerRecord> records) {
  std::vector<LayerRecord> rows;
  if (records.empty()) return rows;
  const std::int64_t step = std::ranges::max(records, {}, &LayerRecord::step).step;
  std::ranges::copy_if(records, std::back_inserter(rows), [&](const LayerRecord& row) { return row.step == step; });
  std::ranges::stable_sort(rows, {}, &LayerRecord::layer);
  return rows;
}

page::Table layer_rows(std::span<const LayerRecord> records) {
  page::Table table{{{"layer"},
                     {"name", true},
                     {"kind", true},
                     {"activation", true},
                     {"E[x²] in"},
                     {"E[x²] out"},
                     {"Var g in"},
                     {"Var g out"},
                     {"ρ"},
                     {"ρ′"},
                     {"λ"},
                     {"λ²ρ"},
                     {"λ²ρ′"},
                     {"μ"},
                     {"α"},
                     {"dead, %"},
                     {"update ratio"},
                     {"not predicted", true}},
                    {}};
  for (const LayerRecord& row : records) {
    table.rows.push_back({{std::to_string(row.layer)},
                          {row.name},
                          {row.normalized ? "ANAct" : std::string(to_string(row.kind))},
                          {row.activation},
                          number(row.input.second_moment),
                          number(row.output.second_moment),
                          number(row.input_gradient.variance),
                          number(row.output_gradient.variance),
                          number(row.forward_gain),
                          number(row.backward_gain),
                          number(row.lambda),
                          number(row.forward_property),
                          number(row.backward_property),
                          number(row.output_mean),
                          number(row.alpha),
                          number(100 * row.dead_share),
                          number(row.update_ratio),
                          {row.unpredicted}});
  }
  return table;
}

std::string layer_table(std::span<const LayerRecord> records) {
  page::Table table = layer_rows(records);
  if (!records.empty()) drop_empty_columns(table);
  return table_markdown(table);
}

}  // namespace anact::layers
