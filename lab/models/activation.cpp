#include "models/activation.h"

#include "ops/step.h"

namespace anact::models {

void PlainActivationImpl::pretty_print(std::ostream& stream) const { stream << activation.to_string(); }

torch::Tensor PlainActivationImpl::forward(const torch::Tensor& input) { return ops::plain(input, activation); }

}  // namespace anact::models
