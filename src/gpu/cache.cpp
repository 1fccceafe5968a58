#include "gpu/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "text/words.h"

namespace anact::gpu {
namespace {

namespace fs = std::filesystem;

// A file is this header, the key, the symbol and the code.
struct Header {
  char magic[8];  // with the version of the layout
  std::uint64_t key_size, symbol_size, code_size;
  std::uint64_t checksum;  // over the sizes and all that follows
};
constexpr char kMagic[] = "ANActG1";
static_assert(sizeof kMagic == sizeof Header::magic && sizeof(Header) == 40);

constexpr std::string_view kEntry = ".kernel", kAside = ".tmp";
constexpr std::size_t kDigits = 16;

// A writer needs milliseconds.
constexpr auto kUnfinishedAfter = std::chrono::minutes(10);

// FNV-1a. It tells damage and names files; a key is compared as a whole, so it need not resist an adversary.
std::uint64_t hash(std::string_view text, std::uint64_t value = 0xcbf29ce484222325) {
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return value;
}

std::string file_name(const std::string& key) {
  return text::format("%016llx", static_cast<unsigned long long>(hash(key))) + std::string(kEntry);
}

// Names of this folder's files: 16 digits, for a file aside a point and six characters, and the ending.
bool is_ours(std::string_view name, std::string_view ending) {
  const std::size_t size = kDigits + (ending == kAside ? 7 : 0) + ending.size();
  return name.size() == size && name.ends_with(ending) &&
         name.substr(0, kDigits).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  [[nodiscard]] int get() const { return value_; }
  [[nodiscard]] bool close() { return ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

// The content, where the file is a regular one that this user or root wrote.
std::optional<std::string> read_own(const fs::path& path, std::uintmax_t most) {
  // A pipe in the entry's place must not block.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  if (status.st_uid != ::geteuid() && status.st_uid != 0) return {};
  if (static_cast<std::uintmax_t>(status.st_size) > most) return {};
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  for (std::size_t done = 0; done < content.size();) {
    const ssize_t count = ::read(file.get(), content.data() + done, content.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return {};
    done += static_cast<std::size_t>(count);
  }
  // The time of the last use, by which tidy() chooses; a folder that cannot be written needs none.
  ::futimens(file.get(), nullptr);
  return content;
}

bool write_all(int file, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(file, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// Folders that are missing, for this user alone as the XDG Base Directory Specification has it.
bool make_folder(const fs::path& folder) {
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return true;
  if (folder.has_parent_path() && folder.parent_path() != folder && !make_folder(folder.parent_path())) return false;
  return ::mkdir(folder.c_str(), 0700) == 0 || fs::is_directory(folder, ignored);
}

std::uint64_t checksum(const Header& header, std::string_view rest) {
  const std::uint64_t sizes[] = {header.key_size, header.symbol_size, header.code_size};
  return hash(rest, hash({reinterpret_cast<const char*>(sizes), sizeof sizes}));
}

}  // namespace

Cache::Cache(fs::path folder, std::uintmax_t bytes) : folder_(std::move(folder)), bytes_(bytes) {}

std::optional<Binary> Cache::find(const std::string& key) const {
  if (folder_.empty()) return {};
  const auto content = read_own(folder_ / file_name(key), bytes_);
  if (!content || content->size() < sizeof(Header)) return {};
  Header header{};
  std::memcpy(&header, content->data(), sizeof header);
  const auto rest = std::string_view(*content).substr(sizeof header);
  const auto size = rest.size();
  if (std::memcmp(header.magic, kMagic, sizeof header.magic) != 0 || header.key_size > size ||
      header.symbol_size > size - header.key_size || header.code_size != size - header.key_size - header.symbol_size ||
      header.checksum != checksum(header, rest) || rest.substr(0, header.key_size) != key) {
    return {};
  }
  return Binary{.code = std::string(rest.substr(header.key_size + header.symbol_size)),
                .symbol = std::string(rest.substr(header.key_size, header.symbol_size))};
}

void Cache::store(const std::string& key, const Binary& binary) const {
  if (folder_.empty() || !make_folder(folder_)) return;
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof header.magic);
  header.key_size = key.size();
  header.symbol_size = binary.symbol.size();
  header.code_size = binary.code.size();
  const auto rest = key + binary.symbol + binary.code;
  header.checksum = checksum(header, rest);

  const auto path = folder_ / file_name(key);
  auto aside = (folder_ / (file_name(key).substr(0, kDigits) + ".XXXXXX" + std::string(kAside))).string();
  Descriptor file(::mkostemps(aside.data(), static_cast<int>(kAside.size()), O_CLOEXEC));
  if (file.get() < 0) return;
  // Not flushed to the disk: what a crash of the machine leaves incomplete, the checksum tells.
  const bool written = write_all(file.get(), {reinterpret_cast<const char*>(&header), sizeof header}) &&
                       write_all(file.get(), rest) && file.close();
  const auto put_in_place = [&] { return ::rename(aside.c_str(), path.c_str()) == 0; };
  if (!written || !(put_in_place() || (errno == EISDIR && ::rmdir(path.c_str()) == 0 && put_in_place()))) {
    ::unlink(aside.c_str());
  }
  tidy();
}

void Cache::tidy() const {
  struct Entry {
    fs::file_time_type used;
    fs::path path;
    std::uintmax_t bytes;
  };
  std::vector<Entry> entries;
  std::uintmax_t total = 0;
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; entry != end; entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (!is_ours(name, kEntry) && !is_ours(name, kAside)) continue;
    // Another process may remove it meanwhile.
    std::error_code gone;
    const auto used = entry->last_write_time(gone);
    const auto bytes = gone || !entry->is_regular_file(gone) ? 0 : entry->file_size(gone);
    if (gone) continue;
    if (is_ours(name, kAside)) {
      if (fs::file_time_type::clock::now() - used > kUnfinishedAfter) ::unlink(entry->path().c_str());
      continue;
    }
    entries.push_back({used, entry->path(), bytes});
    total += bytes;
  }
  if (total <= bytes_) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const auto& entry : entries) {
    if (total <= bytes_) break;
    if (::unlink(entry.path.c_str()) == 0) total -= entry.bytes;
  }
}

Cache::Usage Cache::usage() const {
  Usage usage;
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; entry != end; entry.increment(error)) {
    std::error_code gone;
    if (!is_ours(entry->path().filename().string(), kEntry) || !entry->is_regular_file(gone)) continue;
    const auto bytes = entry->file_size(gone);
    if (gone) continue;
    ++usage.entries;
    usage.bytes += bytes;
  }
  return usage;
}

fs::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value != nullptr ? value : "");
  };
  if (const auto folder = variable("ANACT_CACHE"); !folder.empty()) return folder / "cuda";
  // A relative one is to be ignored (XDG Base Directory Specification).
  if (const auto folder = variable("XDG_CACHE_HOME"); folder.is_absolute()) return folder / "anact" / "cuda";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "anact" / "cuda";
  return {};
}

}  // namespace anact::gpu
