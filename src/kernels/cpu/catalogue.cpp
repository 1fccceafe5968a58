// What the list of activations-inl.h holds, read once for the least instruction set.

#include <stdexcept>
#include <string>

#include "kernels/activations-inl.h"
#include "kernels/kernels.h"

namespace anact::kernels {

namespace {
const Accuracy* find(ActivationKind kind) {
  const Accuracy* found = nullptr;
  HWY_NAMESPACE::Activations::Visit(make_activation(kind), [&](const auto& act) { found = &act.kAccuracy; });
  return found;
}
}  // namespace

bool has_kernel(ActivationKind kind) { return find(kind) != nullptr; }

const Accuracy& accuracy(ActivationKind kind) {
  const Accuracy* found = find(kind);
  if (found == nullptr) {
    throw std::invalid_argument("no kernel for the activation " + std::string(activation_info(kind).name));
  }
  return *found;
}

}  // namespace anact::kernels
