// What a call complains of.
#pragma once

#include <exception>
#include <functional>
#include <string>

namespace anact {

// The message of the exception that the call throws, or "accepted".
inline std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace anact
