// What every page has to hold.
#pragma once

#include <cctype>
#include <string>
#include <vector>

namespace anact::page::test {

inline bool has(const std::string& page, const std::string& part) { return page.find(part) != std::string::npos; }

inline std::size_t count(const std::string& page, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = page.find(part); at != std::string::npos; at = page.find(part, at + 1)) ++found;
  return found;
}

// Every element that is opened is closed, in order: what an unescaped name or a forgotten end tag would break.
inline std::string first_unbalanced(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    const bool closing = page[at + 1] == '/';
    std::size_t end = at + 1 + closing;
    std::string name;
    while (std::isalnum(static_cast<unsigned char>(page[end]))) name += page[end++];
    if (name.empty() || name == "meta") continue;
    if (closing) {
      if (open.empty() || open.back() != name) return "</" + name + "> at " + page.substr(at, 60);
      open.pop_back();
    } else if (page[page.find('>', at) - 1] != '/') {
      open.push_back(name);
      if (name == "script" || name == "style") at = page.find("</" + name, at) - 1;
    }
  }
  return open.empty() ? "" : open.back();
}

// What would be fetched from elsewhere.
inline std::string first_from_outside(const std::string& page) {
  for (const char* part : {"http://", "https://", "//", "url(", "@import", "src=", "<link"}) {
    if (has(page, part)) return part;
  }
  return "";
}

}  // namespace anact::page::test
