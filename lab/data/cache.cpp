#include "data/cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/append_file.h"
#include "io/json.h"
#include "text/words.h"

namespace anact::data {
namespace {

constexpr std::uint32_t kVersion = 2;
constexpr std::array<char, 8> kMagic{'A', 'N', 'A', 'C', 'T', 'S', 'E', 'T'};
constexpr std::uint64_t kAlignment = 64;
// Decoded at a time: enough to share out among threads.
constexpr std::int64_t kChunkBytes = std::int64_t{1} << 24;

// The end of the file.
struct Tail {
  std::uint64_t record_size;
  std::uint32_t record_crc;
  std::uint32_t version;
  std::array<char, 8> magic;
};
static_assert(sizeof(Tail) == 24 && std::is_trivially_copyable_v<Tail>);

std::uint32_t add_to_crc(std::uint32_t crc, std::string_view bytes) {
  return static_cast<std::uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::uint32_t crc_of(std::string_view bytes) { return add_to_crc(0, bytes); }

// Bytes that have a CRC-32 of their own.
constexpr std::size_t kBlockBytes = std::size_t{1} << 22;

// The CRC-32 of each block of what is added.
class BlockSums {
 public:
  void add(std::string_view bytes) {
    while (!bytes.empty()) {
      if (filled_ == 0) sums_.push_back(0);
      const auto part = bytes.substr(0, kBlockBytes - filled_);
      sums_.back() = add_to_crc(sums_.back(), part);
      filled_ = (filled_ + part.size()) % kBlockBytes;
      bytes.remove_prefix(part.size());
    }
  }
  [[nodiscard]] const std::vector<std::uint32_t>& sums() const { return sums_; }

 private:
  std::vector<std::uint32_t> sums_;
  std::size_t filled_ = 0;  // of the last block
};

// Whether each block has its sum. By all processors: a set can be larger than what one reads in a moment.
bool are_whole(std::string_view bytes, const std::vector<std::uint32_t>& sums) {
  if (sums.size() != (bytes.size() + kBlockBytes - 1) / kBlockBytes) return false;
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> whole = true;
  const auto work = [&] {
    for (std::size_t i = next++; i < sums.size() && whole; i = next++) {
      if (crc_of(bytes.substr(i * kBlockBytes, kBlockBytes)) != sums[i]) whole = false;
    }
  };
  std::vector<std::jthread> threads;
  const auto helpers = std::min<std::size_t>(std::thread::hardware_concurrency(), sums.size());
  for (std::size_t i = 1; i < helpers; ++i) threads.emplace_back(work);
  work();
  threads.clear();
  return whole;
}

// FNV-1a with 64 bits (Fowler, Noll and Vo).
class Hash {
 public:
  void add(std::string_view text) {
    for (const char c : text) add_byte(static_cast<unsigned char>(c));
    add_byte(0);
  }
  void add(std::uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) add_byte(static_cast<unsigned char>(number >> shift));
  }
  [[nodiscard]] std::string hex() const { return text::format("%016llx", static_cast<unsigned long long>(value_)); }

 private:
  void add_byte(unsigned char byte) { value_ = (value_ ^ byte) * 0x100000001b3; }

  std::uint64_t value_ = 0xcbf29ce484222325;
};

// What decides where a set's file lies: one for each folder and each choice of options.
Hash identity(const Source& source) {
  Hash hash;
  hash.add(source.name);
  hash.add(std::filesystem::canonical(source.path).native());
  hash.add(source.options);
  return hash;
}

// Changes with every file that the samples depend on.
std::string fingerprint(const Source& source) {
  Hash hash = identity(source);
  for (const auto& file : source.files) {
    const auto path = source.path / file;
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
      throw std::runtime_error("cannot open " + quote_path(path) + ": " + std::strerror(errno));
    }
    hash.add(file.native());
    hash.add(static_cast<std::uint64_t>(status.st_size));
    hash.add(static_cast<std::uint64_t>(status.st_mtim.tv_sec));
    hash.add(static_cast<std::uint64_t>(status.st_mtim.tv_nsec));
  }
  return hash.hex();
}

// Where the parts of the file begin.
struct Layout {
  std::uint64_t train_labels;
  std::uint64_t test_pixels;
  std::uint64_t test_labels;
  std::uint64_t record;
};

Layout make_layout(const Shape& shape, std::uint64_t train, std::uint64_t test) {
  const auto align = [](std::uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; };
  const auto values = static_cast<std::uint64_t>(shape.values());
  Layout layout{};
  layout.train_labels = align(train * values);
  layout.test_pixels = align(layout.train_labels + train * sizeof(std::int32_t));
  layout.test_labels = align(layout.test_pixels + test * values);
  layout.record = align(layout.test_labels + test * sizeof(std::int32_t));
  return layout;
}

bool are_labels(std::span<const std::int32_t> labels, std::int64_t classes) {
  return std::ranges::all_of(labels, [&](std::int32_t label) { return label >= 0 && label < classes; });
}

// The set in a whole file; throws anything when it is not one.
Dataset parse(const std::shared_ptr<const char>& memory, std::uint64_t size, const Source& source,
              const std::string& expected_fingerprint) {
  const auto require = [](bool condition) {
    if (!condition) throw std::runtime_error("not a whole file");
  };
  Tail tail{};
  require(size >= sizeof tail);
  std::memcpy(&tail, memory.get() + size - sizeof tail, sizeof tail);
  require(tail.magic == kMagic && tail.version == kVersion && tail.record_size <= size - sizeof tail);
  const std::string_view text(memory.get() + size - sizeof tail - tail.record_size, tail.record_size);
  require(crc_of(text) == tail.record_crc);
  const auto record = io::parse_json<nlohmann::json>(text);
  require(record.at("fingerprint") == expected_fingerprint);

  Dataset dataset{
      .name = source.name,
      .shape = {.channels = record.at("channels"), .height = record.at("height"), .width = record.at("width")},
      .class_names = record.at("class_names"),
      .train = {},
      .validation = {},
      .test = {},
      .mean = record.at("mean"),
      .deviation = record.at("deviation"),
      .source = source.path.string(),
      .checksum = record.at("checksum"),
      .storage = memory};
  const std::uint64_t train = record.at("train"), test = record.at("test");
  const auto layout = make_layout(dataset.shape, train, test);
  require(layout.record + tail.record_size + sizeof tail == size);
  require(are_whole({memory.get(), layout.record}, record.at("blocks").get<std::vector<std::uint32_t>>()));
  const auto values = static_cast<std::size_t>(dataset.shape.values());
  const auto samples = [&](std::uint64_t pixels, std::uint64_t labels, std::size_t count) {
    return Samples{.pixels = {reinterpret_cast<const std::uint8_t*>(memory.get() + pixels), count * values},
                   .labels = {reinterpret_cast<const std::int32_t*>(memory.get() + labels), count},
                   .images = {}};
  };
  dataset.train = samples(0, layout.train_labels, train);
  dataset.test = samples(layout.test_pixels, layout.test_labels, test);
  require(are_labels(dataset.train.labels, dataset.classes()) && are_labels(dataset.test.labels, dataset.classes()));
  return dataset;
}

// The set in this file, or nothing when there is no such file or it is not whole, of this version and of this source.
std::optional<Dataset> map_file(const std::filesystem::path& path, const Source& source,
                                const std::string& expected_fingerprint) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  struct stat status {};
  void* mapped = MAP_FAILED;
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    mapped = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, descriptor, 0);
  }
  ::close(descriptor);
  if (mapped == MAP_FAILED) return std::nullopt;
  const auto size = static_cast<std::size_t>(status.st_size);
  const std::shared_ptr<const char> memory(static_cast<const char*>(mapped),
                                           [size](const char* data) { ::munmap(const_cast<char*>(data), size); });
  try {
    return parse(memory, size, source, expected_fingerprint);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// Reads images first, first + 1, … into `pixels`, by all processors.
void read_images(const Split& split, std::int64_t first, std::int64_t count, std::span<std::uint8_t> pixels) {
  const auto values = pixels.size() / static_cast<std::size_t>(count);
  std::atomic<std::int64_t> next = 0;
  std::mutex mutex;
  std::int64_t failed = count;  // the first image that cannot be read
  std::exception_ptr error;
  const auto work = [&] {
    for (std::int64_t i = next++; i < count; i = next++) {
      try {
        split.read(first + i, pixels.subspan(static_cast<std::size_t>(i) * values, values));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          error = std::current_exception();
        }
        // No image is begun any more; those before this one have been.
        next = count;
        return;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    const std::int64_t helpers = std::min<std::int64_t>(std::thread::hardware_concurrency(), count) - 1;
    for (std::int64_t i = 0; i < helpers; ++i) threads.emplace_back(work);
    work();
  }
  if (error) std::rethrow_exception(error);
}

std::string_view bytes_of(std::span<const std::int32_t> labels) {
  return {reinterpret_cast<const char*>(labels.data()), labels.size_bytes()};
}

// Removes the file aside, if it has not been renamed.
struct Aside {
  explicit Aside(std::filesystem::path name) : path(std::move(name)) {}
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }

  std::filesystem::path path;
};

// What the system refuses while the file is made is about the folder, which the user can choose.
template <class F>
auto making(F call) {
  try {
    return call();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string(error.what()) + "; ANACT_CACHE names another folder for decoded data sets");
  }
}

// Between the name of the file and the process that makes it aside.
constexpr const char* kAside = ".tmp";

// Removes what processes that were killed had begun: files aside that have not grown for an hour.
void remove_abandoned(const std::filesystem::path& path) {
  const auto begins = path.filename().string() + kAside;
  const auto an_hour_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), ignored)) {
    const auto written = entry.last_write_time(ignored);
    if (!ignored && entry.path().filename().string().starts_with(begins) && written < an_hour_ago) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
}

void make_file(const std::filesystem::path& path, const Source& source, const std::string& fingerprint,
               const std::function<void(std::int64_t done, std::int64_t of)>& progress) {
  static std::atomic<int> made = 0;  // by this process, of which several threads may make the same file
  const Aside aside(path.string() + kAside + std::to_string(::getpid()) + "-" + std::to_string(made++));
  const auto file = making([&] {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) throw std::runtime_error("cannot make " + quote_path(path.parent_path()) + ": " + error.message());
    remove_abandoned(path);
    return std::make_unique<io::AppendFile>(aside.path);
  });
  BlockSums blocks;
  const auto append = [&](std::string_view bytes) {
    making([&] { file->append(bytes); });
    blocks.add(bytes);
  };
  const auto pad_to = [&](std::uint64_t offset) {
    append(std::string(offset - static_cast<std::uint64_t>(file->size()), '\0'));
  };

  const Content content = source.read();
  const auto train = static_cast<std::int64_t>(content.train.labels.size());
  const auto test = static_cast<std::int64_t>(content.test.labels.size());
  const auto layout = make_layout(content.shape, static_cast<std::uint64_t>(train), static_cast<std::uint64_t>(test));
  Summary summary(content.shape);
  std::int64_t done = 0;
  std::vector<std::uint8_t> chunk;
  const auto append_pixels = [&](const Split& split, auto summarize) {
    const auto count = static_cast<std::int64_t>(split.labels.size());
    const auto most = std::max<std::int64_t>(1, kChunkBytes / content.shape.values());
    for (std::int64_t first = 0; first < count; first += most) {
      const auto images = std::min(most, count - first);
      chunk.resize(static_cast<std::size_t>(images * content.shape.values()));
      read_images(split, first, images, chunk);
      summarize(chunk);
      append({reinterpret_cast<const char*>(chunk.data()), chunk.size()});
      done += images;
      if (progress) progress(done, train + test);
    }
  };
  append_pixels(content.train, [&](std::span<const std::uint8_t> pixels) { summary.add_train_pixels(pixels); });
  pad_to(layout.train_labels);
  summary.add_train_labels(content.train.labels);
  append(bytes_of(content.train.labels));
  pad_to(layout.test_pixels);
  append_pixels(content.test, [&](std::span<const std::uint8_t> pixels) { summary.add_test_pixels(pixels); });
  pad_to(layout.test_labels);
  summary.add_test_labels(content.test.labels);
  append(bytes_of(content.test.labels));
  pad_to(layout.record);

  nlohmann::json record;
  try {
    record = {{"fingerprint", fingerprint},
              {"channels", content.shape.channels},
              {"height", content.shape.height},
              {"width", content.shape.width},
              {"class_names", content.class_names},
              {"train", train},
              {"test", test},
              {"mean", summary.mean()},
              {"deviation", summary.deviation()},
              {"checksum", summary.checksum()},
              {"blocks", blocks.sums()}};
  } catch (const std::runtime_error& error) {
    fail(source.path, error.what());
  }
  const auto text = record.dump();
  const Tail tail{.record_size = text.size(), .record_crc = crc_of(text), .version = kVersion, .magic = kMagic};
  append(text);
  append({reinterpret_cast<const char*>(&tail), sizeof tail});
  making([&] {
    file->flush();
    std::error_code error;
    std::filesystem::rename(aside.path, path, error);
    if (error) throw std::runtime_error("cannot put in place " + quote_path(path) + ": " + error.message());
  });
}

}  // namespace

Dataset open_cached(const Source& source, const std::filesystem::path& folder,
                    const std::function<void(std::int64_t done, std::int64_t of)>& progress) {
  const auto path = folder / (source.name + "-" + identity(source).hex() + ".cache");
  const auto expected = fingerprint(source);
  if (auto dataset = map_file(path, source, expected)) return *std::move(dataset);
  make_file(path, source, expected, progress);
  if (auto dataset = map_file(path, source, expected)) return *std::move(dataset);
  fail(path, "cannot be read back; ANACT_CACHE names another folder for decoded data sets");
}

}  // namespace anact::data
