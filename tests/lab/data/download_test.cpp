#include "data/download.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/http_server.h"
#include "data/publication.h"
#include "io/file_size_limit.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::answer;
using test::content_of;
using test::HttpServer;
using test::names_in;
using test::Reply;
using test::Request;
using test::serve;
using test::TemporaryFolder;

using Names = std::set<std::string>;

// 100,000 bytes without a period.
std::string make_content(unsigned state = 1) {
  std::string content(100'000, '\0');
  for (auto& c : content) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return content;
}

const std::string kContent = make_content();

Digest digest_of(const std::string& content) {
  const TemporaryFolder folder;
  return {"sha256", file_digest(folder.write("content", content), "sha256")};
}

DownloadOptions quick() {
  DownloadOptions options;
  options.backoff = std::chrono::milliseconds(1);
  options.digest = digest_of(kContent);
  return options;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Download : public testing::Test {
 protected:
  // The message; "" when the download succeeded.
  std::string fetch(const std::string& url, const DownloadOptions& options) const {
    try {
      download(url, path, options);
    } catch (const std::runtime_error& error) {
      EXPECT_FALSE(has(error.what(), "\n")) << error.what();
      return error.what();
    }
    return "";
  }

  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "file";
};

TEST_F(Download, PutsTheWholeFileInPlace) {
  const HttpServer server([](const Request& request) { return Reply{serve(request, kContent, "\"v1\"")}; });
  auto options = quick();
  options.size = 100'000;
  std::vector<std::pair<std::int64_t, std::int64_t>> calls;
  options.progress = [&](std::int64_t done, std::int64_t of) { calls.emplace_back(done, of); };
  folder.write("file", "an older one");
  EXPECT_EQ(fetch(server.url(), options), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(names_in(folder.path()), Names{"file"});
  ASSERT_FALSE(calls.empty());
  EXPECT_EQ(calls.back(), std::pair(std::int64_t{100'000}, std::int64_t{100'000}));
  EXPECT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].header("range"), "");
}

TEST_F(Download, EmptyFiles) {
  const HttpServer server([](const Request& request) { return Reply{serve(request, "")}; });
  EXPECT_EQ(fetch(server.url(), {}), "");
  EXPECT_EQ(names_in(folder.path()), Names{"file"});
  EXPECT_EQ(std::filesystem::file_size(path), 0u);
}

TEST_F(Download, GoesOnWhereTheConnectionEnded) {
  const HttpServer server([](const Request& request) { return Reply{serve(request, kContent, "\"v1\"", 30'000)}; });
  auto options = quick();
  // Each try brings something new, so that they do not run out.
  options.retries = 1;
  EXPECT_EQ(fetch(server.url(), options), "");
  EXPECT_EQ(content_of(path), kContent);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[1].header("range"), "bytes=30000-");
  EXPECT_EQ(requests[1].header("if-range"), "\"v1\"");
  EXPECT_EQ(requests[3].header("range"), "bytes=90000-");
}

TEST_F(Download, GoesOnInTheNextCall) {
  const HttpServer server([](const Request& request) {
    if (request.number == 0) return Reply{serve(request, kContent, "\"v1\"", 30'000)};
    if (request.number == 1) return Reply{answer("404 Not Found", {}, "gone")};
    return Reply{serve(request, kContent, "\"v1\"")};
  });
  auto options = quick();
  EXPECT_TRUE(has(fetch(server.url(), options), "HTTP status 404; expected 200"));
  EXPECT_EQ(names_in(folder.path()), (Names{"file.part", "file.part.etag"}));
  EXPECT_EQ(content_of(folder / "file.part"), kContent.substr(0, 30'000));
  // The ETag is enough to go on.
  options.digest.reset();
  EXPECT_EQ(fetch(server.url(), options), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(names_in(folder.path()), Names{"file"});
  EXPECT_EQ(server.requests().back().header("range"), "bytes=30000-");
}

TEST_F(Download, StartsAnewWithoutATagAndADigest) {
  const HttpServer server([](const Request& request) {
    return Reply{serve(request, kContent, "W/\"weak\"", request.number == 0 ? 30'000 : std::string::npos)};
  });
  auto options = quick();
  options.digest.reset();
  EXPECT_EQ(fetch(server.url(), options), "");
  EXPECT_EQ(content_of(path), kContent);
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[1].header("range"), "");
}

TEST_F(Download, AServerThatIgnoresRanges) {
  const HttpServer server([](const Request& request) {
    return Reply{
        answer("200 OK", {"ETag: \"v1\""}, kContent.substr(0, request.number < 2 ? 40'000 : 100'000), 100'000)};
  });
  EXPECT_EQ(fetch(server.url(), quick()), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST_F(Download, AServerThatAlwaysEndsAtTheSamePlace) {
  const HttpServer server([](const Request&) { return Reply{answer("200 OK", {}, kContent.substr(0, 10), 100'000)}; });
  auto options = quick();
  options.retries = 2;
  const auto message = fetch(server.url(), options);
  EXPECT_TRUE(has(message, server.url()) && has(message, "(3 tries)")) << message;
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST_F(Download, AFileThatChangesBetweenTheParts) {
  for (const bool heeds_if_range : {true, false}) {
    const auto newer = make_content(2);
    const HttpServer server([&](Request request) {
      if (request.number == 0) return Reply{serve(request, kContent, "\"v1\"", 30'000)};
      if (!heeds_if_range) request.headers.erase("if-range");
      return Reply{serve(request, newer, "\"v2\"")};
    });
    auto options = quick();
    options.digest.reset();
    EXPECT_EQ(fetch(server.url(), options), "");
    EXPECT_EQ(content_of(path), newer);
    EXPECT_EQ(server.requests().size(), heeds_if_range ? 2u : 3u);
  }
}

TEST_F(Download, AFileThatIsShorterThanThePart) {
  folder.write("file.part", kContent + "more");
  const HttpServer server([](const Request& request) { return Reply{serve(request, kContent)}; });
  EXPECT_EQ(fetch(server.url(), quick()), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(server.requests()[0].header("range"), "bytes=100004-");
}

TEST_F(Download, AnotherRangeThanWasAskedFor) {
  folder.write("file.part", kContent.substr(0, 500));
  const HttpServer server([](const Request& request) {
    if (request.number > 0) return Reply{serve(request, kContent)};
    return Reply{answer("206 Partial Content", {"Content-Range: bytes 400-99999/100000"}, kContent.substr(400))};
  });
  EXPECT_EQ(fetch(server.url(), quick()), "");
  EXPECT_EQ(content_of(path), kContent);
}

TEST_F(Download, APartThatWasDamagedIsFetchedAnew) {
  folder.write("file.part", std::string(500, 'x'));
  const HttpServer server([](const Request& request) { return Reply{serve(request, kContent)}; });
  EXPECT_EQ(fetch(server.url(), quick()), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST_F(Download, AWrongDigestNamesBothAndLeavesNothing) {
  auto damaged = kContent;
  damaged[77] = static_cast<char>(damaged[77] ^ 1);
  const HttpServer server([&](const Request& request) { return Reply{serve(request, damaged, "\"v1\"")}; });
  const auto options = quick();
  const auto message = fetch(server.url(), options);
  EXPECT_TRUE(has(message, server.url()) && has(message, "sha256 " + digest_of(damaged).value) &&
              has(message, "expected " + options.digest->value))
      << message;
  EXPECT_EQ(names_in(folder.path()), Names{});
}

TEST_F(Download, AWrongSize) {
  const HttpServer server([](const Request& request) { return Reply{serve(request, kContent)}; });
  auto options = quick();
  options.size = 100'001;
  EXPECT_TRUE(has(fetch(server.url(), options), "100,000 bytes; expected 100,001"));
  // One that never ends must not fill the disk.
  options.size = 50'000;
  EXPECT_TRUE(has(fetch(server.url(), options), "more than 50,000 bytes"));
  EXPECT_EQ(names_in(folder.path()), Names{});
}

TEST_F(Download, ServersErrorsThatPass) {
  for (const std::string status : {"500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"}) {
    const HttpServer server([&](const Request& request) {
      if (request.number < 3) return Reply{answer(status, {}, "a page that is not the file")};
      return Reply{serve(request, kContent)};
    });
    EXPECT_EQ(fetch(server.url(), quick()), "");
    EXPECT_EQ(content_of(path), kContent);
    EXPECT_EQ(server.requests().size(), 4u);
  }
  const HttpServer server([](const Request&) { return Reply{answer("502 Bad Gateway", {}, "")}; });
  auto options = quick();
  options.retries = 2;
  EXPECT_TRUE(has(fetch(server.url(), options), "HTTP status 502; expected 200 (3 tries)"));
}

TEST_F(Download, ErrorsThatStay) {
  for (const std::string status : {"404 Not Found", "403 Forbidden", "300 Multiple Choices", "204 No Content"}) {
    const HttpServer server([&](const Request&) { return Reply{answer(status, {}, "")}; });
    const auto message = fetch(server.url(), quick());
    EXPECT_TRUE(has(message, "HTTP status " + status.substr(0, 3) + "; expected 200")) << message;
    EXPECT_EQ(server.requests().size(), 1u);
    EXPECT_EQ(names_in(folder.path()), Names{});
  }
}

TEST_F(Download, FollowsRedirectionsUpToALimit) {
  const HttpServer server([](const Request& request) {
    if (request.path == "/loop") return Reply{answer("302 Found", {"Location: /loop", "ETag: \"wrong\""}, "moved")};
    if (request.path == "/away") return Reply{answer("302 Found", {"Location: file:///etc/passwd"}, "moved")};
    if (request.path == "/old") return Reply{answer("301 Moved", {"Location: /new", "ETag: \"wrong\""}, "moved")};
    return Reply{serve(request, kContent, "\"v1\"", request.number == 1 ? 1000 : std::string::npos)};
  });
  EXPECT_EQ(fetch(server.url("/old"), quick()), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(server.requests().back().header("if-range"), "\"v1\"");
  std::filesystem::remove(path);
  EXPECT_TRUE(has(fetch(server.url("/loop"), quick()), "redirects"));
  EXPECT_NE(fetch(server.url("/away"), quick()), "");
  EXPECT_EQ(names_in(folder.path()), Names{});
}

TEST_F(Download, AServerThatStalls) {
  const HttpServer server([](const Request& request) {
    if (request.number == 0) return Reply{serve(request, kContent, "\"v1\"", 30'000), true};
    return Reply{serve(request, kContent, "\"v1\"")};
  });
  auto options = quick();
  options.stall_timeout = std::chrono::milliseconds(200);
  EXPECT_EQ(fetch(server.url(), options), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(server.requests().back().header("range"), "bytes=30000-");
}

TEST_F(Download, AServerThatNeverAnswers) {
  const HttpServer server([](const Request&) { return Reply{"", true}; });
  auto options = quick();
  options.stall_timeout = std::chrono::milliseconds(200);
  options.retries = 0;
  const auto message = fetch(server.url(), options);
  EXPECT_TRUE(has(message, "nothing came for ")) << message;
}

TEST_F(Download, NoServer) {
  std::string url;
  {
    const HttpServer server([](const Request&) { return Reply{}; });
    url = server.url();
  }
  auto options = quick();
  options.retries = 1;
  const auto message = fetch(url, options);
  EXPECT_TRUE(has(message, url) && has(message, "(2 tries)")) << message;
}

TEST_F(Download, NotHttp) {
  const HttpServer server([](const Request&) { return Reply{"220 mail.example ESMTP\r\n"}; });
  auto options = quick();
  options.retries = 0;
  EXPECT_NE(fetch(server.url(), options), "");
  EXPECT_EQ(names_in(folder.path()), Names{});
}

TEST_F(Download, AFullDisk) {
  const HttpServer server([](const Request& request) { return Reply{serve(request, kContent, "\"v1\"")}; });
  const auto options = quick();
  {
    const test::FileSizeLimit limit(20'000);
    EXPECT_EQ(fetch(server.url(), options), "cannot write '" + path.string() + ".part': File too large");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  // What came is not lost.
  EXPECT_EQ(fetch(server.url(), options), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(server.requests().back().header("range"), "bytes=20000-");
}

TEST_F(Download, FoldersThatCannotBeWritten) {
  const auto message = [&] {
    try {
      download("http://127.0.0.1:1/", folder / "missing/file", quick());
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string();
  }();
  EXPECT_EQ(message, "cannot create '" + (folder / "missing/file.part").string() + "': No such file or directory");
}

TEST_F(Download, OnlyOneProcessAtATime) {
  const int other = ::open((folder / "file.part").c_str(), O_RDWR | O_CREAT, 0666);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  EXPECT_TRUE(has(fetch("http://127.0.0.1:1/", quick()), "another process is downloading it"));
  ::close(other);
}

TEST_F(Download, FilesOfALocalMirror) {
  const auto mirror = folder.write("mirror", kContent);
  folder.write("file.part", "left over");
  EXPECT_EQ(fetch("file://" + mirror.string(), quick()), "");
  EXPECT_EQ(content_of(path), kContent);
  EXPECT_EQ(names_in(folder.path()), (Names{"file", "mirror"}));
  EXPECT_TRUE(has(fetch("file://" + (folder / "missing").string(), quick()), "missing"));
}

TEST_F(Download, RefusesOtherProtocols) {
  EXPECT_THROW(download("ftp://127.0.0.1/file", path, quick()), std::invalid_argument);
  EXPECT_THROW(download("file", path, quick()), std::invalid_argument);
  EXPECT_EQ(names_in(folder.path()), Names{});
}

// A publication of two files, and one of an archive, in place of the real ones.
class Get : public testing::Test {
 protected:
  PublishedFile publish(const std::string& name, const std::string& content) {
    digests.push_back(std::make_unique<std::string>(file_digest(folder.write(name, content), "md5")));
    names.push_back(std::make_unique<std::string>(name));
    return {*names.back(), static_cast<std::int64_t>(content.size()), *digests.back()};
  }

  const TemporaryFolder folder;
  std::vector<std::unique_ptr<std::string>> digests, names;
};

TEST_F(Get, FetchesEachFileOnce) {
  const Publication publication{"made", "http://127.0.0.1:1/", {publish("a.gz", "aaa"), publish("b.gz", "bb")}, false};
  const HttpServer server([](const Request& request) {
    return Reply{serve(request, request.path == "/mirror/a.gz" ? "aaa" : request.path == "/mirror/b.gz" ? "bb" : "")};
  });
  GetOptions options;
  options.download = quick();
  options.url = server.url("/mirror");
  std::set<std::string> doings;
  options.progress = [&](const std::string& doing, std::int64_t, std::int64_t) { doings.insert(doing); };
  const auto place = folder / "data/made/raw";
  get(publication, place, options);
  EXPECT_EQ(names_in(place), (Names{"a.gz", "b.gz"}));
  EXPECT_EQ(doings, (std::set<std::string>{"downloading a.gz", "downloading b.gz"}));
  EXPECT_EQ(verify(publication, place), 2);
  // Only what is wrong comes again.
  std::ofstream(place / "b.gz") << "xx";
  try {
    (void)verify(publication, place);
    ADD_FAILURE() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_TRUE(has(error.what(), "b.gz") && has(error.what(), *digests[1])) << error.what();
  }
  get(publication, place, options);
  EXPECT_EQ(content_of(place / "b.gz"), "bb");
  EXPECT_EQ(server.requests().size(), 3u);
  std::filesystem::remove(place / "a.gz");
  EXPECT_EQ(verify(publication, place), 1);
}

TEST(Publications, EveryDownloadableSetHasOne) {
  for (const auto* name : {"mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet"}) {
    const auto* publication = find_publication(name);
    ASSERT_NE(publication, nullptr) << name;
    EXPECT_TRUE(publication->url.ends_with('/'));
    EXPECT_EQ(publication->files.size(), publication->archive ? 1u : 4u);
    for (const auto& file : publication->files) EXPECT_EQ(file.md5.size(), 32u);
  }
  EXPECT_EQ(find_publication("digits"), nullptr);
  EXPECT_EQ(find_publication("folder"), nullptr);
}

}  // namespace
}  // namespace anact::data
