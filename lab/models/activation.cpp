#include "models/activation.h"

#include "ops/fallback/anact.h"

namespace anact::models {

void PlainActivationImpl::pretty_print(std::ostream& stream) const { stream << activation.to_string(); }

torch::Tensor PlainActivationImpl::forward(const torch::Tensor& input) {
  return ops::fallback::value(activation, input);
}

}  // namespace anact::models
