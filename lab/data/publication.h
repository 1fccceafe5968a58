// Where the data sets are published.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/download.h"

namespace anact::data {

struct PublishedFile {
  std::string_view name;
  std::int64_t size;     // in bytes
  std::string_view md5;  // as torchvision has it, too
};

// The files of a set: either one archive that holds the set's folder, or what lies in that folder as it is.
struct Publication {
  std::string_view set;
  std::string_view url;  // of the folder that the files are in, with a slash at the end
  std::vector<PublishedFile> files;
  bool archive;
};

// Nothing for a set that cannot be downloaded.
[[nodiscard]] const Publication* find_publication(std::string_view set);

struct GetOptions {
  std::string
      url;  // in place of the publication's; for an archive that of the file itself, unless it ends with a slash
  DownloadOptions download;  // its digest, size and progress are set by get()
  // What is done, and how far that is in bytes.
  std::function<void(const std::string& doing, std::int64_t done, std::int64_t of)> progress;
};

// Downloads the set so that it lies in `folder`. Files that are there with the right digest are kept. Throws as
// download() and unpack() do, and when the folder of a set that comes as an archive is there already.
void get(const Publication& publication, const std::filesystem::path& folder, const GetOptions& options = {});

// Checks the digests of those of the files that are there as they were published; returns how many these are. Throws as
// check_digest().
std::int64_t verify(const Publication& publication, const std::filesystem::path& folder);

}  // namespace anact::data
