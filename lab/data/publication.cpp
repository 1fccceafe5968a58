#include "data/publication.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "data/archive.h"
#include "data/source.h"

namespace anact::data {
namespace {

namespace fs = std::filesystem;

// The digests are those that torchvision checks; on the sets' own pages, as far as they give any, they are the same.
const std::array<Publication, 5>& publications() {
  static const std::array<Publication, 5> all{{
      // The files of yann.lecun.com/exdb/mnist, which no longer gives them to programs.
      {"mnist",
       "https://ossci-datasets.s3.amazonaws.com/mnist/",
       {{"train-images-idx3-ubyte.gz", 9'912'422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"},
        {"train-labels-idx1-ubyte.gz", 28'881, "d53e105ee54ea40749a09fcbcd1e9432"},
        {"t10k-images-idx3-ubyte.gz", 1'648'877, "9fb629c4189551a2d022fa330f9573f3"},
        {"t10k-labels-idx1-ubyte.gz", 4'542, "ec29112dd5afa0611ce80d1b7f02629c"}},
       false},
      {"fashion-mnist",
       "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
       {{"train-images-idx3-ubyte.gz", 26'421'880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"},
        {"train-labels-idx1-ubyte.gz", 29'515, "25c81989df183df01b3e8a0aad5dffbe"},
        {"t10k-images-idx3-ubyte.gz", 4'422'102, "bef4ecab320f06d8554ea6380940ec79"},
        {"t10k-labels-idx1-ubyte.gz", 5'148, "bb300cfdad3c16e7a12a480ee83cd310"}},
       false},
      {"cifar10",
       "https://www.cs.toronto.edu/~kriz/",
       {{"cifar-10-binary.tar.gz", 170'052'171, "c32a1d4ab5d03f1284b67883e8d87530"}},
       true},
      {"cifar100",
       "https://www.cs.toronto.edu/~kriz/",
       {{"cifar-100-binary.tar.gz", 168'513'733, "03b5dce01913d631647c71ecec9e9cb8"}},
       true},
      {"tiny-imagenet",
       "http://cs231n.stanford.edu/",
       {{"tiny-imagenet-200.zip", 248'100'043, "90528d7ca1a48142e341f4ef8d21d0de"}},
       true},
  }};
  return all;
}

Digest digest_of(const PublishedFile& file) { return {"md5", std::string(file.md5)}; }

bool is_right(const fs::path& path, const PublishedFile& file) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && file_digest(path, "md5") == file.md5;
}

}  // namespace

const Publication* find_publication(std::string_view set) {
  const auto found = std::ranges::find(publications(), set, &Publication::set);
  return found == publications().end() ? nullptr : &*found;
}

void get(const Publication& publication, const fs::path& folder, const GetOptions& options) {
  if (publication.archive && fs::exists(folder)) fail(folder, "is there already; to get it anew, remove it first");
  // An archive is kept beside the folder until it is unpacked.
  const auto target = publication.archive ? folder.parent_path() : folder;
  fs::create_directories(target);
  auto base = options.url.empty() ? std::string(publication.url) : options.url;
  const bool is_file = publication.archive && !base.ends_with('/');
  if (!is_file && !base.ends_with('/')) base += '/';
  for (const auto& file : publication.files) {
    const auto path = target / file.name;
    const auto following = [&](const char* verb) -> ByteProgress {
      if (!options.progress) return {};
      return [&progress = options.progress, doing = verb + std::string(file.name)](std::int64_t done, std::int64_t of) {
        progress(doing, done, of);
      };
    };
    if (!is_right(path, file)) {
      auto download_options = options.download;
      download_options.digest = digest_of(file);
      download_options.size = file.size;
      download_options.progress = following("downloading ");
      download(is_file ? base : base + std::string(file.name), path, download_options);
    }
    if (publication.archive) {
      UnpackOptions unpack_options;
      unpack_options.progress = following("unpacking ");
      unpack(path, folder, unpack_options);
      fs::remove(path);
    }
  }
}

std::int64_t verify(const Publication& publication, const fs::path& folder) {
  std::int64_t verified = 0;
  if (publication.archive) return verified;
  for (const auto& file : publication.files) {
    const auto path = folder / file.name;
    // The readers take the files without compression, too.
    if (!fs::exists(path)) continue;
    check_digest(path, digest_of(file));
    ++verified;
  }
  return verified;
}

}  // namespace anact::data
