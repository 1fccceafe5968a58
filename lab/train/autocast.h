// Mixed precision.
#pragma once

#include <ATen/autocast_mode.h>

namespace anact::train {

// Autocast to bfloat16 on a device while it lives, as torch.autocast does; nothing unless `on`.
class Autocast {
 public:
  Autocast(at::DeviceType device, bool on) : device_(device), on_(on) {
    if (!on_) return;
    at::autocast::increment_nesting();
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, true);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(device_, false);
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  }

 private:
  at::DeviceType device_;
  bool on_;
};

}  // namespace anact::train
