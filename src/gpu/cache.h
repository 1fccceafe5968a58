// Compiled kernels on the disk, so that each is compiled once a machine and not once a process.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "gpu/backend.h"

namespace anact::gpu {

// Whatever goes wrong here costs a compilation, never more: nothing throws. Entries are whole or not there, and any
// number of threads and processes may use one folder.
class Cache {
 public:
  static constexpr std::uintmax_t kBytes = std::uintmax_t{256} << 20;

  // The folder need not exist; an empty path for none at all. `bytes` bounds all entries together: beyond it those go
  // that were not used for the longest.
  explicit Cache(std::filesystem::path folder, std::uintmax_t bytes = kBytes);

  // What was stored under the key. An entry that is damaged, of another key, or another user's is not taken.
  [[nodiscard]] std::optional<Binary> find(const std::string& key) const;

  // Also removes what a process that was killed in here left behind.
  void store(const std::string& key, const Binary& binary) const;

  struct Usage {
    std::uintmax_t entries = 0, bytes = 0;
  };
  [[nodiscard]] Usage usage() const;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  void tidy() const;

  std::filesystem::path folder_;
  std::uintmax_t bytes_;
};

// cuda in ANACT_CACHE, else anact/cuda in XDG_CACHE_HOME, else ~/.cache/anact/cuda; empty where none of them is set.
[[nodiscard]] std::filesystem::path cache_folder();

}  // namespace anact::gpu
