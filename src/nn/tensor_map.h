// Values by tensors, each in one state of its contents.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace anact::nn {

using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

// The key is the tensor's address, which stays its own while a weak reference is held, and its version, which any
// change in place raises.
template <class Value>
class TensorMap {
 public:
  // None for a tensor without a value.
  [[nodiscard]] Value* find(const at::Tensor& tensor) {
    const auto found = values_.find(key_of(tensor));
    return found == values_.end() ? nullptr : &found->second;
  }

  // The reference lasts as long as the map.
  Value& set(const at::Tensor& tensor, Value value) {
    alive_.emplace_back(tensor.getIntrusivePtr());
    return values_[key_of(tensor)] = std::move(value);
  }

  void clear() {
    values_.clear();
    alive_.clear();
  }

 private:
  using Key = std::pair<const c10::TensorImpl*, std::uint32_t>;
  static Key key_of(const at::Tensor& tensor) {
    return {tensor.unsafeGetTensorImpl(), tensor.is_inference() ? 0 : tensor._version()};
  }

  std::map<Key, Value> values_;
  std::vector<WeakTensor> alive_;
};

}  // namespace anact::nn
