// Writes the types of ANAct's options for Python, from their table: option_types FILE.

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "anact/options.h"

namespace {

std::string literal(const auto& names) {
  std::string list;
  for (const auto name : names) list.append(list.empty() ? "\"" : ", \"").append(name).append("\"");
  return "Literal[" + list + "]";
}

// The name of the type of an option that is one of several names: "Solution".
std::string title(const anact::Option& option) {
  std::string text(option.name);
  text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return text;
}

std::string type_of(const anact::Option& option) {
  switch (option.kind) {
    case anact::OptionKind::name:
      return title(option);
    case anact::OptionKind::flag:
      return "bool";
    case anact::OptionKind::number:
      return "float";
    case anact::OptionKind::interval:
      return "tuple[float, float]";
    case anact::OptionKind::optional_interval:
      return "tuple[float, float] | None";
  }
  std::abort();
}

// A number that Python takes for a float.
std::string real(const std::string& text) {
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string standard_of(const anact::Option& option) {
  const auto text = option.write({});
  switch (option.kind) {
    case anact::OptionKind::name:
      return '"' + text + '"';
    case anact::OptionKind::flag:
      return text == "on" ? "True" : "False";
    case anact::OptionKind::number:
      return real(text);
    case anact::OptionKind::interval:
    case anact::OptionKind::optional_interval:
      return text == "none" ? "None" : "(" + real(text.substr(0, text.find(','))) + ", " +
                                           real(text.substr(text.find(',') + 1)) + ")";
  }
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: option_types FILE\n";
    return 2;
  }
  std::vector<std::string_view> recipes;
  for (const auto& info : anact::recipes()) recipes.push_back(info.name);
  std::ofstream out(argv[1]);
  out << "\"\"\"The options of ANAct, made from their table in include/anact/options.h.\"\"\"\n\n"
         "from dataclasses import dataclass\nfrom typing import Literal\n\nfrom typing_extensions import TypedDict\n\n"
         "Recipe = "
      << literal(recipes) << "\n";
  for (const auto& option : anact::option_table()) {
    if (option.kind == anact::OptionKind::name) out << title(option) << " = " << literal(option.names) << "\n";
  }
  out << "\n\nclass OptionArguments(TypedDict, total=False):\n"
         "    \"\"\"The options as keyword arguments, all but the activation.\"\"\"\n\n    recipe: Recipe\n";
  for (const auto& option : anact::option_table()) out << "    " << option.name << ": " << type_of(option) << "\n";
  out << "\n\n@dataclass(frozen=True, init=False)\nclass OptionFields:\n    \"\"\"The options, all but the activation.\n\n";
  for (const auto& option : anact::option_table()) out << "    " << option.name << ": " << option.help << ".\n";
  out << "    \"\"\"\n\n";
  for (const auto& option : anact::option_table()) {
    out << "    " << option.name << ": " << type_of(option) << " = " << standard_of(option) << "\n";
  }
  out.close();
  if (!out) {
    std::cerr << "option_types: cannot write '" << argv[1] << "'\n";
    return 1;
  }
}
