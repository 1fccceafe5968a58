#include <stdexcept>
#include <string>

#include "anact/nn.h"

namespace anact::nn {
namespace {

std::string name_of(const ANActOptions& options) {
  return options.custom() ? options.custom()->name : options.activation().to_string();
}

std::string print(const std::string& name, const Options& values) {
  std::string text = "ANAct(" + name;
  for (const auto& option : option_table()) {
    if (option.write(values) != option.write({})) {
      text.append(", ").append(option.name).append("=").append(option.print(values));
    }
  }
  return text + ")";
}

}  // namespace

std::string print(const ANActOptions& options) { return print(name_of(options), options.values()); }

std::string to_text(const ANActOptions& options) { return name_of(options) + ":" + anact::to_text(options.values()); }

std::string mismatch(const ANActOptions& options, const std::string& saved) {
  const auto colon = saved.find(':');
  try {
    if (colon == std::string::npos) throw std::invalid_argument("no options");
    const auto name = saved.substr(0, colon);
    const auto values = parse_options(std::string_view(saved).substr(colon + 1));
    if (name == name_of(options) && values == options.values()) return "";
    return "it was saved by " + print(name, values) + " and is to be loaded into " + print(options);
  } catch (const std::invalid_argument& error) {
    return "it was saved by an ANAct that this version does not know (" + std::string(error.what()) + ", in \"" +
           saved + "\") and is to be loaded into " + print(options);
  }
}

}  // namespace anact::nn
