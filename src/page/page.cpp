#include "page/page.h"

#include "page/assets.h"
#include "page/text.h"

namespace anact::page {

std::string element(const std::string& tag, const std::string& text) {
  return "<" + tag + ">" + escape_html(text) + "</" + tag.substr(0, tag.find(' ')) + ">\n";
}

std::string note(const std::string& text) { return element("p class=\"note\"", text); }

std::string part(const std::string& heading) { return element("h3 class=\"part\"", heading); }

std::string facts(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string html = "<dl class=\"facts\">\n";
  for (const auto& [name, value] : fields) html += element("dt", name) + element("dd", value);
  return html + "</dl>\n";
}

std::string panel(const std::string& heading, const std::string& chart) {
  return "<div class=\"panel\">\n" + (heading.empty() ? "" : element("h3", heading)) + chart + "</div>\n";
}

std::string figure(const std::string& caption, const std::string& legend, const std::string& panels, bool one) {
  return "<figure>\n" + element("figcaption", caption) + legend + "<div class=\"panels" + (one ? " one" : "") +
         "\">\n" + panels + "</div>\n</figure>\n";
}

std::string document(const std::string& title, const std::string& body, std::string_view script) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
      element("title", title) + "<style>" + std::string(kStyle) + "</style>\n</head>\n<body>\n" + body;
  if (!script.empty()) html += "<script>" + std::string(script) + "</script>\n";
  return html + "</body>\n</html>\n";
}

}  // namespace anact::page
