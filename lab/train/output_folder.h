// The folder that a run is written into, and what is done with the run that it held before.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "io/file_lock.h"

namespace anact::train {

// Holds a folder against other processes: by a lock on a file `lock` in it, which names the process and its host. What
// an earlier process was killed over is put right first: a run that was set aside comes back, unless the one that was
// to replace it has begun.
class OutputFolder {
 public:
  // Makes the folder, and those it lies in, if they are not there. Throws std::runtime_error when it cannot be made,
  // and when another process writes into it.
  explicit OutputFolder(std::filesystem::path path);
  // A folder of this name or, where that is taken, of this name with "-2", "-3", … behind it, which no other process
  // has.
  [[nodiscard]] static std::unique_ptr<OutputFolder> make_new(const std::filesystem::path& wanted);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  // A run that was set aside comes back unless begun() was called; a folder that this made goes if it is still empty.
  ~OutputFolder();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  // Whether it holds nothing but the lock; and a run's configuration, which other programs' config.json is not.
  [[nodiscard]] bool is_empty() const;
  [[nodiscard]] bool holds_run() const;

  // Moves what a run writes into a folder `replaced`; any other file stays.
  void set_aside();

  // The new run is there: removes what was set aside.
  void begun();

 private:
  [[nodiscard]] std::filesystem::path replaced() const { return path_ / "replaced"; }
  void put_back();

  std::filesystem::path path_;
  bool made_ = false;
  bool aside_ = false;
  std::optional<io::FileLock> lock_;
};

}  // namespace anact::train
