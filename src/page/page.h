// The parts that every page has. Pages are self-contained: complete without a network and without scripts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "page/chart.h"

namespace anact::page {

// <tag>text</tag>; the tag may have attributes.
[[nodiscard]] std::string element(const std::string& tag, const std::string& text);

// A <p class="note">.
[[nodiscard]] std::string note(const std::string& text);

// The heading of a part of a section, which has an <h2>.
[[nodiscard]] std::string part(const std::string& heading);

// Names and values.
[[nodiscard]] std::string facts(const std::vector<std::pair<std::string, std::string>>& fields);

// One chart of a figure, given as HTML; without a heading where it stands alone.
[[nodiscard]] std::string panel(const std::string& heading, const std::string& chart);

// Panels side by side under a caption and a legend, given as HTML. `one`: there is a single panel.
[[nodiscard]] std::string figure(const std::string& caption, const std::string& legend, const std::string& panels,
                                 bool one);

// The whole document around the body's content, given as HTML. A script may add to what is there.
[[nodiscard]] std::string document(const std::string& title, const std::string& body, std::string_view script = {});

}  // namespace anact::page
