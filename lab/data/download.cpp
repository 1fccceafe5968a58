#include "data/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <thread>

#include "data/source.h"
#include "io/atomic_file.h"

namespace anact::data {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLongestPause{30'000};
constexpr std::size_t kLongestTag = 1024;

[[noreturn]] void fail_with_reason(const char* verb, const fs::path& path) {
  const int error = errno;
  throw std::runtime_error(std::string("cannot ") + verb + " " + quote_path(path) + ": " + std::strerror(error));
}

std::string with_suffix(const fs::path& path, const char* suffix) { return path.string() + suffix; }

// The part of the file that has come, which is this process's alone while the object lives.
class Part {
 public:
  explicit Part(const fs::path& path)
      : path_(with_suffix(path, ".part")), tag_path_(with_suffix(path, ".part.etag")), final_path_(path) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_with_reason("create", path_);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      fail(path_, "another process is downloading it");
    }
    // Another one may have put it in place since it was opened here.
    struct stat opened {};
    struct stat named {};
    if (::fstat(descriptor_, &opened) != 0 || ::stat(path_.c_str(), &named) != 0 || opened.st_ino != named.st_ino) {
      ::close(descriptor_);
      fail(final_path_, "another process has just downloaded it");
    }
    size_ = std::max<std::int64_t>(::lseek(descriptor_, 0, SEEK_END), 0);
    if (fs::exists(tag_path_)) tag_ = io::read_file(tag_path_);
    if (tag_.size() > kLongestTag) tag_.clear();
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  ~Part() {
    // One that never got anything is of no use.
    if (size_ == 0 && !in_place_) remove();
    ::close(descriptor_);
  }

  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] const std::string& tag() const { return tag_; }

  // The server's version that the part is of from here on; empty when it names none.
  void set_tag(const std::string& tag) {
    tag_ = tag;
    std::error_code ignored;
    if (tag.empty()) {
      fs::remove(tag_path_, ignored);
    } else {
      io::write_file(tag_path_, tag);
    }
  }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_with_reason("write", path_);
      bytes.remove_prefix(static_cast<std::size_t>(written));
      size_ += written;
    }
  }

  void clear() {
    if (::ftruncate(descriptor_, 0) != 0 || ::lseek(descriptor_, 0, SEEK_SET) != 0) fail_with_reason("empty", path_);
    size_ = 0;
    set_tag("");
  }

  void remove() {
    std::error_code ignored;
    fs::remove(tag_path_, ignored);
    fs::remove(path_, ignored);
  }

  void put_in_place() {
    if (::fsync(descriptor_) != 0) fail_with_reason("flush", path_);
    if (::rename(path_.c_str(), final_path_.c_str()) != 0) fail_with_reason("put in place", final_path_);
    in_place_ = true;
    set_tag("");
  }

 private:
  fs::path path_;
  fs::path tag_path_;
  fs::path final_path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
  std::string tag_;
  bool in_place_ = false;
};

// A failure after which another try may do better.
class Passing : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
      return true;
    default:
      return false;
  }
}

bool may_pass(long status) { return status == 408 || status == 429 || status >= 500; }

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::int64_t parse_number(std::string_view text) {
  std::int64_t value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// One request, and what its answer does to the part.
class Transfer {
 public:
  Transfer(const std::string& url, Part& part, const DownloadOptions& options)
      : url_(url), part_(part), options_(options), curl_(curl_easy_init(), &curl_easy_cleanup) {
    if (!curl_) throw std::bad_alloc();
  }

  // Throws Passing where another try may do better.
  void run() {
    // What file:// reads is here anyway; it has no ETag.
    const bool local = url_.starts_with("file:");
    if (part_.size() > 0 && (local || (part_.tag().empty() && !options_.digest))) part_.clear();
    asked_from_ = part_.size();
    set(CURLOPT_URL, url_.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https,file");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, static_cast<long>(options_.redirects));
    set(CURLOPT_FAILONERROR, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "anact");
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
    set(CURLOPT_ERRORBUFFER, message_.data());
    set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &Transfer::on_time);
    set(CURLOPT_XFERINFODATA, this);
    std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, &curl_slist_free_all);
    if (asked_from_ > 0) {
      set(CURLOPT_RANGE, (std::to_string(asked_from_) + "-").c_str());
      if (!part_.tag().empty()) {
        headers.reset(curl_slist_append(nullptr, ("If-Range: " + part_.tag()).c_str()));
        if (!headers) throw std::bad_alloc();
        set(CURLOPT_HTTPHEADER, headers.get());
      }
    }
    const CURLcode code = curl_easy_perform(curl_.get());
    if (error_) std::rethrow_exception(error_);
    if (code == CURLE_HTTP_RETURNED_ERROR) answer_failed(status());
    if (code != CURLE_OK) {
      const std::string reason = message_[0] != '\0' ? message_.data() : curl_easy_strerror(code);
      if (may_pass(code)) throw Passing(quote_path(url_) + ": " + reason);
      fail(url_, reason);
    }
    // An answer without a body.
    if (!begun_) begin();
  }

 private:
  template <class T>
  void set(CURLoption option, T value) {
    if (const auto code = curl_easy_setopt(curl_.get(), option, value); code != CURLE_OK) {
      fail(url_, curl_easy_strerror(code));
    }
  }

  // Of the answer's first line; 0 for a file URL.
  [[nodiscard]] long status() const {
    long value = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &value);
    return value;
  }

  [[noreturn]] void answer_failed(long status) {
    if (status == 416) {
      // The part is longer than the file is now.
      part_.clear();
      throw Passing(quote_path(url_) + ": HTTP status 416 for what follows byte " +
                    grouped(static_cast<std::uint64_t>(asked_from_)));
    }
    const auto what = "HTTP status " + std::to_string(status) + "; expected 200";
    if (may_pass(status)) throw Passing(quote_path(url_) + ": " + what);
    fail(url_, what);
  }

  void header(std::string_view line) {
    if (line.starts_with("HTTP/")) {  // the first of an answer; a redirection has one of its own
      tag_.clear();
      range_.clear();
      length_ = -1;
      return;
    }
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string name(line.substr(0, colon));
    const auto value = trimmed(line.substr(colon + 1));
    if (::strcasecmp(name.c_str(), "ETag") == 0) {
      // A weak one does not say that the bytes are the same.
      if (value.starts_with('"') && value.size() <= kLongestTag) tag_ = value;
    } else if (::strcasecmp(name.c_str(), "Content-Range") == 0) {
      range_ = value;
    } else if (::strcasecmp(name.c_str(), "Content-Length") == 0) {
      length_ = parse_number(value);
    }
  }

  // Before the first byte of the body: makes the part what the body goes on from.
  void begin() {
    begun_ = true;
    const long status = this->status();
    if (status != 0 && status != 200 && status != 206) answer_failed(status);
    if (status == 206) {
      constexpr std::string_view kUnit = "bytes ";
      const auto from = range_.starts_with(kUnit) ? parse_number(std::string_view(range_).substr(kUnit.size())) : -1;
      const bool changed = !part_.tag().empty() && tag_ != part_.tag();
      if (from != asked_from_ || changed) {
        const auto reason = changed ? "the file changed on the server" : "another range came than was asked for";
        part_.clear();
        throw Passing(quote_path(url_) + ": " + reason);
      }
    } else {
      if (part_.size() > 0) part_.clear();
      part_.set_tag(tag_);
    }
    of_ = length_ >= 0 ? part_.size() + length_ : options_.size;
  }

  void body(std::string_view bytes) {
    if (!begun_) begin();
    if (options_.size > 0 && part_.size() + static_cast<std::int64_t>(bytes.size()) > options_.size) {
      part_.clear();
      fail(url_, "more than " + grouped(static_cast<std::uint64_t>(options_.size)) + " bytes, which the file has");
    }
    part_.append(bytes);
    last_byte_ = Clock::now();
    if (options_.progress) options_.progress(part_.size(), of_);
  }

  // C calls these, so that nothing may be thrown through them.
  template <class F>
  bool guarded(F f) {
    try {
      f();
      return true;
    } catch (...) {
      error_ = std::current_exception();
      return false;
    }
  }

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    return transfer.guarded([&] { transfer.header({data, size * count}); }) ? size * count : 0;
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    return transfer.guarded([&] { transfer.body({data, size * count}); }) ? size * count : CURL_WRITEFUNC_ERROR;
  }

  static int on_time(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto& transfer = *static_cast<Transfer*>(self);
    return transfer.guarded([&] {
      const auto silent = Clock::now() - transfer.last_byte_;
      if (silent < transfer.options_.stall_timeout) return;
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(silent).count();
      throw Passing(quote_path(transfer.url_) + ": nothing came for " + std::to_string(seconds) + " s");
    })
               ? 0
               : 1;
  }

  const std::string& url_;
  Part& part_;
  const DownloadOptions& options_;
  std::unique_ptr<CURL, void (*)(CURL*)> curl_;
  std::array<char, CURL_ERROR_SIZE> message_{};
  std::exception_ptr error_;
  std::int64_t asked_from_ = 0;
  bool begun_ = false;
  Clock::time_point last_byte_ = Clock::now();
  std::int64_t of_ = 0;
  // Of the answer that is being read.
  std::string tag_;
  std::string range_;
  std::int64_t length_ = -1;
};

// Throws unless the whole file is what it should be; the part is then of no use.
void check(Part& part, const std::string& url, const DownloadOptions& options) {
  try {
    if (options.size > 0 && part.size() != options.size) {
      fail(url, grouped(static_cast<std::uint64_t>(part.size())) + " bytes; expected " +
                    grouped(static_cast<std::uint64_t>(options.size)));
    }
    if (!options.digest) return;
    const auto found = file_digest(part.path(), options.digest->algorithm);
    if (found != options.digest->value) {
      fail(url, "what came has the " + options.digest->algorithm + " " + found + "; expected " + options.digest->value);
    }
  } catch (...) {
    part.clear();
    throw;
  }
}

// Until all of the answer is in the part.
void fetch(const std::string& url, Part& part, const DownloadOptions& options) {
  std::int64_t furthest = part.size();
  auto pause = options.backoff;
  for (int failures = 0;;) {
    try {
      Transfer(url, part, options).run();
      return;
    } catch (const Passing& error) {
      if (part.size() > furthest) {
        furthest = part.size();
        failures = 0;
        pause = options.backoff;
      }
      if (failures++ == options.retries) {
        throw std::runtime_error(std::string(error.what()) + " (" + std::to_string(failures) + " tries)");
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
  }
}

}  // namespace

void download(const std::string& url, const fs::path& path, const DownloadOptions& options) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialized != CURLE_OK) throw std::runtime_error(curl_easy_strerror(initialized));
  if (!url.starts_with("http://") && !url.starts_with("https://") && !url.starts_with("file://")) {
    throw std::invalid_argument("URL " + quote_text(url) + "; expected one of http://, https:// or file://");
  }
  Part part(path);
  const bool resumed = part.size() > 0;
  fetch(url, part, options);
  try {
    check(part, url, options);
  } catch (const std::runtime_error&) {
    if (!resumed) throw;
    // What had been there before may be at fault.
    fetch(url, part, options);
    check(part, url, options);
  }
  part.put_in_place();
}

}  // namespace anact::data
