#include "math/names.h"

#include "anact/activation.h"
#include "text/words.h"

namespace anact {

std::string unknown_name(std::string_view what, std::string_view name, std::span<const std::string_view> known) {
  std::string message("unknown ");
  message.append(what).append(" \"").append(name).append("\"; expected one of ").append(text::join(known));
  const auto nearest = nearest_names(name, known, 1);
  if (!nearest.empty()) message.append(" (did you mean ").append(nearest.front()).append("?)");
  return message;
}

}  // namespace anact
