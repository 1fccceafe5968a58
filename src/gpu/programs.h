// The functions of one program on the devices, each compiled when it is first asked for.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "gpu/backend.h"
#include "gpu/cache.h"

namespace anact::gpu {

// A function that is loaded on a device.
class Function {
 public:
  Function(const Driver& driver, const Device& device, LoadedFunction loaded, std::string expression);

  // As Driver::launch. The launch is in the device's primary context, whichever the thread has. Throws Error that names
  // the function.
  void launch(const LaunchSize& size, void* stream, void** arguments) const;

  // As Driver::allocate, and Driver::is_capturing.
  [[nodiscard]] void* allocate(std::size_t bytes, void* stream) const {
    return driver_.allocate(loaded_, bytes, stream);
  }
  [[nodiscard]] bool is_capturing(void* stream) const { return driver_.is_capturing(loaded_, stream); }

  [[nodiscard]] const Device& device() const { return device_; }

 private:
  const Driver& driver_;
  const Device& device_;
  LoadedFunction loaded_;
  std::string expression_;
};

// Kept until the process ends, without being destroyed, where other threads may still launch then.
class Programs {
 public:
  using Open = std::function<Backend()>;
  using Report = std::function<void(const std::string&)>;

  // `open` is called once, by the first get(); it throws Error where there is nothing to compile or run with. `report`
  // receives a sentence for each different reason for which get() returned none, outside of any lock.
  Programs(Program program, Cache cache, Open open, Report report);

  // The function that the expression names ("anact::apply<anact::Relu, float>"), compiled for the device, or null where
  // it cannot be had. Either stays so for the rest of the process, so callers may keep the pointer. Any number of
  // threads may ask; of those that ask for the same one, the first compiles and the others wait.
  [[nodiscard]] const Function* get(int device, std::string_view expression);

 private:
  struct Key {
    int device;
    std::string expression;
  };
  struct KeyView {
    int device;
    std::string_view expression;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const Key& key) const { return (*this)(KeyView{key.device, key.expression}); }
    std::size_t operator()(const KeyView& key) const {
      return std::hash<std::string_view>()(key.expression) + static_cast<std::size_t>(key.device);
    }
  };
  struct Equal {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return a.device == b.device && a.expression == b.expression;
    }
  };
  struct Entry {
    std::once_flag once;
    std::optional<Function> function;
    std::string failure;
    std::atomic<bool> reported = false;
  };

  [[nodiscard]] Entry& entry(const KeyView& key);
  void make(const KeyView& key, Entry& entry);
  [[nodiscard]] const Backend& backend();
  [[nodiscard]] LoadedFunction load(const KeyView& key, const Device& device);
  void report(Entry& entry);

  Program program_;
  Cache cache_;
  Open open_;
  Report report_;
  std::once_flag opened_;
  Backend backend_;
  std::string no_backend_;
  std::shared_mutex mutex_;
  std::unordered_map<Key, Entry, Hash, Equal> entries_;
  std::mutex reported_mutex_;
  std::set<std::string> reported_;
};

}  // namespace anact::gpu
