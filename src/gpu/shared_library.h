// Libraries opened at run time, so that neither building nor starting needs them.
#pragma once

#include <string>

namespace anact::gpu {

// A library is never closed: functions of it may be running when the process ends, and the driver's own are no longer
// to be called by then.
class SharedLibrary {
 public:
  // A path, or a name that the system looks up on its library path. Throws Error with the loader's reason.
  explicit SharedLibrary(const std::string& file);

  // The function of that name. Throws Error that names the library and the function when there is none.
  template <class F>
  void bind(F*& function, const char* name) const {
    function = reinterpret_cast<F*>(symbol(name));
  }

  // The path of what was opened.
  [[nodiscard]] std::string path() const;

 private:
  [[nodiscard]] void* symbol(const char* name) const;

  void* handle_;
};

}  // namespace anact::gpu
