#include "math/names.h"

#include "anact/activation.h"
#include "text/words.h"

namespace anact {

std::string did_you_mean(std::string_view name, std::span<const std::string_view> known, std::size_t count,
                         std::string_view separator) {
  const auto nearest = nearest_names(name, known, count);
  return nearest.empty() ? "" : "; did you mean " + text::join(nearest, separator);
}

std::string unknown_choice(std::string_view what, std::string_view name, std::span<const std::string_view> known,
                           std::size_t count) {
  std::string message("unknown ");
  message.append(what).append(" '").append(name).append("'").append(did_you_mean(name, known, count));
  return message + "; there are " + text::join(known);
}

std::string unknown_name(std::string_view what, std::string_view name, std::span<const std::string_view> known) {
  std::string message("unknown ");
  message.append(what).append(" \"").append(name).append("\"; expected one of ").append(text::join(known));
  const auto nearest = nearest_names(name, known, 1);
  if (!nearest.empty()) message.append(" (did you mean ").append(nearest.front()).append("?)");
  return message;
}

}  // namespace anact
