// Files from the web.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "data/digest.h"

namespace anact::data {

struct DownloadOptions {
  std::optional<Digest> digest;  // of the whole file
  std::int64_t size = 0;         // in bytes, where that is known; else 0
  // After a failure that may pass (a connection, a status 408, 429 or 5xx), so many times in a row without anything new
  // having come.
  int retries = 5;
  std::chrono::milliseconds backoff{1000};  // before the first of these; twice as long before the next, 30 s at most
  std::chrono::milliseconds connect_timeout{20'000};
  std::chrono::milliseconds stall_timeout{30'000};  // nothing came for so long; looked at once a second
  int redirects = 5;
  ByteProgress progress;
};

// Fetches an http, https or file URL and puts it in place when it is whole; a file that is there is replaced.
//
// What has come is kept in PATH.part, also when this throws or the process is killed, and the next call goes on from
// there: where the server gave a strong ETag (kept in PATH.part.etag) only while it still has the same, without one
// only where `digest` will tell. Both are removed once the file is whole, and when its digest is wrong.
//
// Throws std::runtime_error that names the URL or the file and what was expected, and std::invalid_argument for a URL
// of another kind.
void download(const std::string& url, const std::filesystem::path& path, const DownloadOptions& options = {});

}  // namespace anact::data
