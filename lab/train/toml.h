// Settings in TOML, for files that have settings in them besides their own contents.
#pragma once

#include <toml++/toml.h>

#include <span>
#include <string>
#include <string_view>

#include "train/config.h"

namespace anact::train {

// Throws std::invalid_argument that names the source, the line and the column.
[[nodiscard]] toml::table parse_toml(std::string_view text, std::string_view source);
[[noreturn]] void fail_at(std::string_view source, const toml::source_region& place, const std::string& what);

// Takes over the settings in the sections of `table`, but for its members called `others`, which are the caller's.
// Throws as apply_toml does.
void apply_sections(Config& config, const toml::table& table, std::string_view source,
                    std::span<const std::string_view> others);

}  // namespace anact::train
