#include "train/output_folder.h"

#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "io/atomic_file.h"
#include "io/json.h"

namespace anact::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = "lock";
constexpr const char* kConfig = "config.json";
constexpr const char* kStatus = "status.json";

// What a run writes; the configuration last, by which a run is known: where it is, all the others are.
constexpr const char* kRunFiles[] = {"report.html", "summary.csv",      "probe.csv",   "probe.html",  "metrics.jsonl",
                                     "metrics.csv", "log.txt",          "tensorboard", "checkpoints", "weights",
                                     "config.toml", "environment.json", kStatus,       kConfig};

[[noreturn]] void fail(const char* what, const fs::path& path, const std::error_code& error) {
  throw std::runtime_error("cannot " + std::string(what) + " '" + path.string() + "': " + error.message());
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail("remove", path, error);
}

void move_run(const fs::path& from, const fs::path& to) {
  for (const char* name : kRunFiles) {
    if (!fs::exists(fs::symlink_status(from / name))) continue;
    std::error_code error;
    fs::rename(from / name, to / name, error);
    if (error) fail("move", from / name, error);
  }
}

std::string host() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

std::string holder(const fs::path& lock) {
  try {
    const auto text = io::read_file(lock);
    if (!text.empty()) return text;
  } catch (const std::runtime_error&) {
    // It ended just now.
  }
  return "another process";
}

}  // namespace

OutputFolder::OutputFolder(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  made_ = fs::create_directories(path_, error);
  if (error) fail("create the output folder", path_, error);
  const auto lock = path_ / kLock;
  lock_ = io::FileLock::take(lock, false);
  if (!lock_) {
    throw std::runtime_error("the output folder '" + path_.string() + "' is in use: " + holder(lock) +
                             " writes into it");
  }
  const auto text = "process " + std::to_string(::getpid()) + " on " + host();
  if (::ftruncate(lock_->descriptor(), 0) != 0 ||
      ::pwrite(lock_->descriptor(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    fail("write", lock, {errno, std::generic_category()});
  }
  if (!fs::exists(replaced())) return;
  // Its configuration is moved last, so a run that was moved whole has it.
  aside_ = true;
  if (fs::exists(replaced() / kConfig) && fs::exists(path_ / kStatus)) {
    begun();
  } else {
    put_back();
  }
}

std::unique_ptr<OutputFolder> OutputFolder::make_new(const fs::path& wanted) {
  std::error_code error;
  if (wanted.has_parent_path()) fs::create_directories(wanted.parent_path(), error);
  fs::path path = wanted;
  for (int number = 2; !error; ++number) {
    if (fs::create_directory(path, error)) {
      auto folder = std::make_unique<OutputFolder>(path);
      folder->made_ = true;
      return folder;
    }
    path = wanted.string() + "-" + std::to_string(number);
  }
  fail("create the output folder", path, error);
}

OutputFolder::~OutputFolder() {
  if (!lock_) return;
  std::error_code ignored;
  try {
    if (aside_) put_back();
  } catch (const std::exception&) {
    // The next process that opens the folder tries again.
  }
  fs::remove(path_ / kLock, ignored);
  if (made_) fs::remove(path_, ignored);  // fails unless it is empty
}

bool OutputFolder::is_empty() const {
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (entry.path().filename() != kLock) return false;
  }
  return true;
}

bool OutputFolder::holds_run() const {
  const auto path = path_ / kConfig;
  if (!fs::is_regular_file(path)) return false;
  const auto text = io::read_file(path);
  if (io::is_deeper(text, io::kDeepestJson)) return false;
  const auto config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object() || !config.contains("schema")) return false;
  const auto command = config.value("command", nlohmann::json());
  return command == "compare" || command == "train" || command == "probe";
}

void OutputFolder::set_aside() {
  std::error_code error;
  fs::create_directory(replaced(), error);
  if (error) fail("create", replaced(), error);
  aside_ = true;
  move_run(path_, replaced());
}

void OutputFolder::begun() {
  if (!aside_) return;
  aside_ = false;
  remove_tree(replaced());
}

void OutputFolder::put_back() {
  // Whole or not at all: of one that was not moved whole, the rest is still there and is no new run's.
  if (fs::exists(replaced() / kConfig)) {
    for (const char* name : kRunFiles) remove_tree(path_ / name);
  }
  move_run(replaced(), path_);
  remove_tree(replaced());
  aside_ = false;
}

}  // namespace anact::train
