#include "gpu/nvrtc.h"

#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <utility>

#include "text/words.h"

namespace anact::gpu {
namespace {

namespace fs = std::filesystem;

std::string in_quotes(const fs::path& path) { return "'" + path.string() + "'"; }

// What a name or a path says of the version: 13 for libnvrtc.so.13.0.88, 0 for libnvrtc.so.
int major_of(std::string_view name) {
  const auto at = name.find(".so.");
  if (at == std::string_view::npos) return 0;
  const auto version = name.substr(at + 4);
  return text::number<int>(version.substr(0, version.find('.'))).value_or(0);
}

void add_existing(const fs::path& folder, std::vector<fs::path>& files) {
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; entry != end; entry.increment(ignored)) {
    if (is_nvrtc_name(entry->path().filename().string())) files.push_back(entry->path());
  }
}

// Newest first; the order of a folder's entries is the file system's.
void sort_by_version(std::vector<fs::path>& files) {
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return std::pair(major_of(b.filename().string()), a) < std::pair(major_of(a.filename().string()), b);
  });
}

std::vector<fs::path> loaded_files() {
  std::vector<fs::path> files;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        const fs::path path(info->dlpi_name);
        if (is_nvrtc_name(path.filename().string())) static_cast<std::vector<fs::path>*>(result)->push_back(path);
        return 0;
      },
      &files);
  return files;
}

// Where the wheels that PyTorch depends on have their libraries, beside torch/lib: nvidia/cu13/lib since CUDA 13,
// nvidia/cuda_nvrtc/lib before.
std::vector<fs::path> wheel_folders(const fs::path& torch_folder) {
  std::vector<fs::path> folders;
  std::error_code ignored;
  const auto packages = torch_folder.parent_path().parent_path() / "nvidia";
  for (fs::directory_iterator entry(packages, ignored), end; entry != end; entry.increment(ignored)) {
    if (entry->path().filename().string().starts_with("cu")) folders.push_back(entry->path() / "lib");
  }
  // For the message alone.
  if (folders.empty()) folders.push_back(packages);
  return folders;
}

std::vector<fs::path> toolkit_folders() {
  std::vector<fs::path> folders;
  const auto add = [&](const fs::path& root) {
    folders.push_back(root / "lib64");
    folders.push_back(root / "lib");
  };
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') add(value);
  }
  add("/usr/local/cuda");
  return folders;
}

// What has been looked at, for the message where nothing could be taken.
class Candidates {
 public:
  explicit Candidates(int newest_major) : newest_major_(newest_major) {}

  // Whether the search is over.
  bool open(const std::string& file) {
    std::unique_ptr<Nvrtc> found;
    try {
      found = std::make_unique<Nvrtc>(file);
    } catch (const Error& error) {
      // A name on the library path that is not there is nothing to report.
      if (file.find('/') != std::string::npos || !std::string_view(error.what()).starts_with(file + ":")) {
        refused_.emplace_back(error.what());
      }
      return false;
    }
    if (newest_major_ != 0 && found->major_version() > newest_major_) {
      refused_.push_back(in_quotes(found->path()) + " is " + found->version() + ", too new for a driver of CUDA " +
                         std::to_string(newest_major_));
      return false;
    }
    const bool complete = found->missing_builtins().empty();
    // One that lacks its builtins is better than none: what it says of them is the better message.
    if (complete || best_ == nullptr) best_ = std::move(found);
    return complete;
  }

  bool open(std::vector<fs::path> files) {
    sort_by_version(files);
    return std::any_of(files.begin(), files.end(), [this](const fs::path& file) { return open(file.string()); });
  }

  bool open_in(const std::vector<fs::path>& folders) {
    std::vector<fs::path> files;
    for (const auto& folder : folders) {
      looked_in_.push_back(in_quotes(folder));
      add_existing(folder, files);
    }
    return open(std::move(files));
  }

  bool open_named() {
    looked_in_.emplace_back("the system's library path");
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}) {
      if (open(std::string(name))) return true;
    }
    return false;
  }

  [[nodiscard]] std::unique_ptr<Nvrtc> take() {
    if (best_ != nullptr) return std::move(best_);
    const std::string wanted = newest_major_ != 0
                                   ? "libnvrtc.so." + std::to_string(newest_major_) + " (NVRTC, CUDA's compiler)"
                                   : "libnvrtc.so.13 or libnvrtc.so.12 (NVRTC, CUDA's compiler)";
    std::string message = wanted + " was not found; looked in " + text::join(looked_in_);
    for (const auto& reason : refused_) message += "; " + reason;
    throw Error(message);
  }

 private:
  int newest_major_;
  std::unique_ptr<Nvrtc> best_;
  std::vector<std::string> looked_in_, refused_;
};

std::string find_builtins(const fs::path& library, int major, int minor) {
  const auto name = "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
  // NVRTC itself looks on the library path alone, where the wheels' folders are not; once loaded, it finds them.
  for (const auto& file : {library.parent_path() / name, fs::path(name)}) {
    try {
      const SharedLibrary builtins(file.string());
      return {};
    } catch (const Error&) {
      continue;
    }
  }
  return name;
}

}  // namespace

bool is_nvrtc_name(std::string_view name) {
  // libnvrtc.so, libnvrtc.so.13, and libnvrtc-0123abcd.so.12 as LibTorch's archives for C++ rename it.
  constexpr std::string_view kStart = "libnvrtc";
  if (!name.starts_with(kStart)) return false;
  name.remove_prefix(kStart.size());
  if (name.starts_with("-")) {
    name.remove_prefix(1);
    const auto end = name.find_first_not_of("0123456789abcdef");
    if (end == 0 || end == std::string_view::npos) return false;
    name.remove_prefix(end);
  }
  return name == ".so" || name.starts_with(".so.");
}

// A program within NVRTC.
class Nvrtc::Unit {
 public:
  Unit(const Nvrtc& nvrtc, const Program& program) : nvrtc_(nvrtc) {
    std::vector<const char*> texts, names;
    for (const auto& header : program.headers) {
      texts.push_back(header.text.c_str());
      names.push_back(header.name.c_str());
    }
    nvrtc.check(nvrtc.api_.create(&handle_, program.main.text.c_str(), program.main.name.c_str(),
                                  static_cast<int>(texts.size()), texts.data(), names.data()),
                "nvrtcCreateProgram");
  }
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;
  ~Unit() { nvrtc_.api_.destroy(&handle_); }

  [[nodiscard]] void* get() const { return handle_; }

  [[nodiscard]] std::string log() const {
    auto text = read(nvrtc_.api_.log_size, nvrtc_.api_.log, "nvrtcGetProgramLog");
    text.resize(text.find_last_not_of(std::string_view("\0\n ", 3)) + 1);
    return text;
  }

  [[nodiscard]] std::string read(int (*size_of)(void*, std::size_t*), int (*get)(void*, char*),
                                 const char* function) const {
    std::size_t size = 0;
    nvrtc_.check(size_of(handle_, &size), function);
    std::string result(size, '\0');
    nvrtc_.check(get(handle_, result.data()), function);
    return result;
  }

 private:
  const Nvrtc& nvrtc_;
  void* handle_ = nullptr;
};

Nvrtc::Nvrtc(const std::string& file) : library_(file) {
  library_.bind(api_.error_string, "nvrtcGetErrorString");
  library_.bind(api_.version, "nvrtcVersion");
  library_.bind(api_.architecture_count, "nvrtcGetNumSupportedArchs");
  library_.bind(api_.architectures, "nvrtcGetSupportedArchs");
  library_.bind(api_.create, "nvrtcCreateProgram");
  library_.bind(api_.destroy, "nvrtcDestroyProgram");
  library_.bind(api_.add_name, "nvrtcAddNameExpression");
  library_.bind(api_.compile, "nvrtcCompileProgram");
  library_.bind(api_.log_size, "nvrtcGetProgramLogSize");
  library_.bind(api_.log, "nvrtcGetProgramLog");
  library_.bind(api_.cubin_size, "nvrtcGetCUBINSize");
  library_.bind(api_.cubin, "nvrtcGetCUBIN");
  library_.bind(api_.ptx_size, "nvrtcGetPTXSize");
  library_.bind(api_.ptx, "nvrtcGetPTX");
  library_.bind(api_.lowered_name, "nvrtcGetLoweredName");
  check(api_.version(&major_, &minor_), "nvrtcVersion");
  int count = 0;
  check(api_.architecture_count(&count), "nvrtcGetNumSupportedArchs");
  architectures_.resize(static_cast<std::size_t>(std::max(count, 0)));
  check(api_.architectures(architectures_.data()), "nvrtcGetSupportedArchs");
  std::sort(architectures_.begin(), architectures_.end());
  missing_builtins_ = find_builtins(library_.path(), major_, minor_);
}

std::string Nvrtc::version() const { return "NVRTC " + std::to_string(major_) + "." + std::to_string(minor_); }

void Nvrtc::check(int result, const char* function) const {
  if (result != 0) throw Error(std::string(function) + " of '" + path() + "': " + api_.error_string(result));
}

Binary Nvrtc::compile(const Program& program, const std::string& expression, const std::string& architecture) const {
  const auto wanted = architecture.starts_with("sm_") ? text::number<int>(architecture.substr(3)) : std::nullopt;
  if (!wanted) throw Error("'" + architecture + "' is no architecture of CUDA; expected one such as sm_90");
  const auto newer = std::upper_bound(architectures_.begin(), architectures_.end(), *wanted);
  if (newer == architectures_.begin()) {
    throw Error(version() + " ('" + path() + "') does not compile for " + architecture +
                (architectures_.empty() ? "" : "; its oldest is sm_" + std::to_string(architectures_.front())));
  }
  const int known = *std::prev(newer);
  const bool exact = known == *wanted;

  const Unit unit(*this, program);
  check(api_.add_name(unit.get(), expression.c_str()), "nvrtcAddNameExpression");
  const auto target = "--gpu-architecture=" + std::string(exact ? "sm_" : "compute_") + std::to_string(known);
  std::vector<const char*> options{target.c_str()};
  for (const auto& option : program.options) options.push_back(option.c_str());
  if (const int result = api_.compile(unit.get(), static_cast<int>(options.size()), options.data()); result != 0) {
    auto message = version() + " ('" + path() + "') cannot compile '" + expression + "' for " + architecture + ": " +
                   api_.error_string(result);
    if (!missing_builtins_.empty()) {
      message += "; " + missing_builtins_ + " is neither beside it nor on the system's library path";
    }
    throw Error(message + "\n" + unit.log());
  }
  const char* symbol = nullptr;
  check(api_.lowered_name(unit.get(), expression.c_str(), &symbol), "nvrtcGetLoweredName");
  return {.code = exact ? unit.read(api_.cubin_size, api_.cubin, "nvrtcGetCUBIN")
                        : unit.read(api_.ptx_size, api_.ptx, "nvrtcGetPTX"),
          .symbol = symbol};
}

std::unique_ptr<Nvrtc> find_nvrtc(const NvrtcSearch& search) {
  Candidates candidates(search.newest_major);
  bool found = candidates.open(loaded_files());
  for (const auto& folder : search.torch_folders) {
    auto folders = wheel_folders(folder);
    folders.push_back(folder);
    found = found || candidates.open_in(folders);
  }
  if (!found && !candidates.open_named()) candidates.open_in(toolkit_folders());
  return candidates.take();
}

}  // namespace anact::gpu
