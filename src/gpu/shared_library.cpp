#include "gpu/shared_library.h"

#include <dlfcn.h>
#include <link.h>

#include "gpu/backend.h"

namespace anact::gpu {

SharedLibrary::SharedLibrary(const std::string& file) : handle_(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) {
    const char* reason = ::dlerror();
    throw Error(reason != nullptr ? reason : file + ": cannot be opened");
  }
}

std::string SharedLibrary::path() const {
  link_map* map = nullptr;
  if (::dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) return {};
  return map->l_name;
}

void* SharedLibrary::symbol(const char* name) const {
  void* address = ::dlsym(handle_, name);
  if (address == nullptr) throw Error("'" + path() + "' has no function " + name);
  return address;
}

}  // namespace anact::gpu
