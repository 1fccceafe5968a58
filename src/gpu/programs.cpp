#include "gpu/programs.h"

#include <exception>
#include <utility>

namespace anact::gpu {
namespace {

// What the compiler's output depends on; each part with its length, so that no two lists of parts look the same.
std::string cache_key(const Program& program, std::string_view expression, const std::string& compiler,
                      const std::string& architecture) {
  std::string key;
  const auto add = [&key](std::string_view part) {
    key += std::to_string(part.size()) + ":";
    key += part;
    key += "\n";
  };
  add(compiler);
  add(architecture);
  add(expression);
  add(std::to_string(program.options.size()));
  for (const auto& option : program.options) add(option);
  add(program.main.name);
  add(program.main.text);
  for (const auto& header : program.headers) {
    add(header.name);
    add(header.text);
  }
  return key;
}

}  // namespace

Function::Function(const Driver& driver, const Device& device, LoadedFunction loaded, std::string expression)
    : driver_(driver), device_(device), loaded_(loaded), expression_(std::move(expression)) {}

void Function::launch(const LaunchSize& size, void* stream, void** arguments) const {
  try {
    driver_.launch(loaded_, size, stream, arguments);
  } catch (const Error& error) {
    throw Error("'" + expression_ + "' could not be launched on " + device_.name + ": " + error.what());
  }
}

Programs::Programs(Program program, Cache cache, Open open, Report report)
    : program_(std::move(program)), cache_(std::move(cache)), open_(std::move(open)), report_(std::move(report)) {}

const Function* Programs::get(int device, std::string_view expression) {
  const KeyView key{device, expression};
  auto& found = entry(key);
  std::call_once(found.once, [&] { make(key, found); });
  if (found.function) return &*found.function;
  report(found);
  return nullptr;
}

Programs::Entry& Programs::entry(const KeyView& key) {
  {
    const std::shared_lock lock(mutex_);
    if (const auto at = entries_.find(key); at != entries_.end()) return at->second;
  }
  const std::unique_lock lock(mutex_);
  return entries_[Key{key.device, std::string(key.expression)}];
}

void Programs::make(const KeyView& key, Entry& entry) {
  try {
    const auto& devices = backend().driver->devices();
    if (key.device < 0 || static_cast<std::size_t>(key.device) >= devices.size()) {
      throw Error("there is no GPU " + std::to_string(key.device) + "; the driver has " +
                  std::to_string(devices.size()));
    }
    const auto& device = devices[static_cast<std::size_t>(key.device)];
    entry.function.emplace(*backend_.driver, device, load(key, device), std::string(key.expression));
  } catch (const std::exception& error) {
    entry.failure = error.what();
  }
}

const Backend& Programs::backend() {
  std::call_once(opened_, [this] {
    try {
      backend_ = open_();
    } catch (const std::exception& error) {
      no_backend_ = error.what();
    }
  });
  if (!no_backend_.empty()) throw Error(no_backend_);
  return backend_;
}

LoadedFunction Programs::load(const KeyView& key, const Device& device) {
  const auto& [driver, compiler] = backend_;
  const auto cache_entry = cache_key(program_, key.expression, compiler->version(), device.architecture);
  if (const auto stored = cache_.find(cache_entry)) {
    try {
      return driver->load(key.device, *stored);
    } catch (const Error&) {
      // Compiled anew below, as a damaged entry is; whatever else is wrong is then reported.
    }
  }
  const auto binary = compiler->compile(program_, std::string(key.expression), device.architecture);
  const auto loaded = driver->load(key.device, binary);
  cache_.store(cache_entry, binary);
  return loaded;
}

void Programs::report(Entry& entry) {
  if (entry.reported.exchange(true)) return;
  {
    const std::lock_guard lock(reported_mutex_);
    if (!reported_.insert(entry.failure).second) return;
  }
  report_(entry.failure);
}

}  // namespace anact::gpu
