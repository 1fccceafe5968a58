#include "gpu/cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "io/file_size_limit.h"
#include "stubs.h"

namespace anact::gpu {
namespace {

using namespace std::chrono_literals;
using test::content_of;
using test::names_in;
using test::TemporaryFolder;
using test::Variable;

const Binary kBinary{.code = std::string("\x7f"
                                         "ELF\0code",
                                         9),
                     .symbol = "_Z1fv"};

bool holds(const Cache& cache, const std::string& key, const Binary& binary = kBinary) {
  const auto found = cache.find(key);
  return found && found->code == binary.code && found->symbol == binary.symbol;
}

std::filesystem::path only_entry(const std::filesystem::path& folder) {
  EXPECT_EQ(names_in(folder).size(), 1u);
  return std::filesystem::directory_iterator(folder)->path();
}

void set_age(const std::filesystem::path& path, std::chrono::seconds age) {
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - age);
}

TEST(Cache, FindsWhatWasStored) {
  const TemporaryFolder folder;
  const Cache cache(folder / "new" / "er");
  EXPECT_FALSE(cache.find("a key"));
  cache.store("a key", kBinary);
  cache.store("another", {});
  EXPECT_TRUE(holds(cache, "a key"));
  EXPECT_TRUE(holds(cache, "another", {}));
  EXPECT_FALSE(cache.find("a kez"));
  EXPECT_TRUE(holds(Cache(folder / "new" / "er"), "a key"));
  const Binary second{.code = std::string(100'000, 'x'), .symbol = ""};
  cache.store("a key", second);
  EXPECT_TRUE(holds(cache, "a key", second));
  EXPECT_EQ(cache.usage().entries, 2u);
  EXPECT_EQ(cache.usage().bytes, 2 * 40 + 5 + 100'000 + 7u);
}

TEST(Cache, IsForThisUserAlone) {
  const TemporaryFolder folder;
  Cache(folder / "new" / "er").store("key", kBinary);
  for (const auto& path : {folder / "new", folder / "new" / "er", only_entry(folder / "new" / "er")}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0077u, 0u) << path;
  }
}

TEST(Cache, TakesNoDamagedEntryAndReplacesIt) {
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  cache.store("key", kBinary);
  const auto path = only_entry(folder.path());
  const auto whole = content_of(path);
  const auto damaged = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    const bool found = cache.find("key").has_value();
    cache.store("key", kBinary);
    EXPECT_EQ(content_of(path), whole);
    return !found;
  };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(damaged(whole.substr(0, size))) << "cut after " << size << " bytes";
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    auto content = whole;
    content[at] = static_cast<char>(content[at] ^ 0x10);
    EXPECT_TRUE(damaged(content)) << "a bit in byte " << at;
  }
  EXPECT_TRUE(damaged(whole + "x"));
  EXPECT_TRUE(damaged("something else altogether, longer than what an entry begins with"));
}

TEST(Cache, TakesNoEntryOfAnotherKey) {
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  cache.store("other", kBinary);
  const auto other = only_entry(folder.path());
  cache.store("key", kBinary);
  for (const auto& name : names_in(folder.path())) {
    if (folder / name != other)
      std::filesystem::copy_file(other, folder / name, std::filesystem::copy_options::overwrite_existing);
  }
  EXPECT_FALSE(cache.find("key"));
  EXPECT_TRUE(cache.find("other"));
}

TEST(Cache, WhatElseMayBeInAnEntrysPlace) {
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  cache.store("key", kBinary);
  const auto path = only_entry(folder.path());
  const std::vector<std::pair<std::string, std::function<void()>>> cases{
      {"an empty folder", [&] { std::filesystem::create_directory(path); }},
      {"a pipe", [&] { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); }},
      {"a link", [&] { std::filesystem::create_symlink("/etc/passwd", path); }},
      {"a link to itself", [&] { std::filesystem::create_symlink(path.filename(), path); }},
  };
  for (const auto& [name, put] : cases) {
    std::filesystem::remove(path);
    put();
    EXPECT_FALSE(cache.find("key")) << name;
    cache.store("key", kBinary);
    EXPECT_TRUE(holds(cache, "key")) << name;
  }
  // A folder that holds something is not ours to remove.
  std::filesystem::remove(path);
  std::filesystem::create_directories(path / "file");
  EXPECT_FALSE(cache.find("key"));
  cache.store("key", kBinary);
  EXPECT_FALSE(cache.find("key"));
  EXPECT_TRUE(std::filesystem::exists(path / "file"));
  EXPECT_EQ(names_in(folder.path()).size(), 1u);
  EXPECT_EQ(cache.usage().entries, 0u);
}

TEST(Cache, GoesWithoutAFolder) {
  const TemporaryFolder folder;
  folder.write("file", "");
  for (const auto& path : {std::filesystem::path(), folder / "file" / "below", folder / "file"}) {
    const Cache cache(path);
    cache.store("key", kBinary);
    EXPECT_FALSE(cache.find("key")) << path;
    EXPECT_EQ(cache.usage().entries, 0u);
  }
  EXPECT_EQ(content_of(folder / "file"), "");
}

TEST(Cache, LeavesNothingWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  {
    const anact::test::FileSizeLimit limit(60);
    cache.store("key", {.code = std::string(10'000, 'x'), .symbol = ""});
  }
  EXPECT_TRUE(names_in(folder.path()).empty());
}

// Another user for the rest of a scope, as only root can be.
class AnotherUser {
 public:
  AnotherUser() {
    if (::seteuid(65534) != 0) throw std::runtime_error("cannot become another user");
  }
  AnotherUser(const AnotherUser&) = delete;
  AnotherUser& operator=(const AnotherUser&) = delete;
  ~AnotherUser() {
    if (::seteuid(0) != 0) std::abort();
  }
};

TEST(Cache, AFolderThatCannotBeWrittenIsStillRead) {
  const TemporaryFolder folder;
  const Cache cache(folder / "cache");
  cache.store("key", kBinary);
  std::filesystem::permissions(only_entry(folder / "cache"), std::filesystem::perms(0444));
  std::filesystem::permissions(folder / "cache", std::filesystem::perms(0555));
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
  {
    // Permissions do not hold root back.
    std::optional<AnotherUser> user;
    if (::geteuid() == 0) user.emplace();
    EXPECT_TRUE(holds(cache, "key"));
    cache.store("another", kBinary);
  }
  EXPECT_EQ(names_in(folder / "cache").size(), 1u);
  std::filesystem::permissions(folder / "cache", std::filesystem::perms(0755));
}

TEST(Cache, TakesNothingThatAnotherUserWrote) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make another user's files";
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  cache.store("key", kBinary);
  ASSERT_EQ(::chown(only_entry(folder.path()).c_str(), 65534, 65534), 0);
  EXPECT_FALSE(cache.find("key"));
  cache.store("key", kBinary);
  EXPECT_TRUE(holds(cache, "key"));
}

TEST(Cache, DropsWhatWasNotUsedForTheLongest) {
  const TemporaryFolder folder;
  const Cache cache(folder.path(), 3500);
  const Binary binary{.code = std::string(1000, 'x'), .symbol = ""};
  std::vector<std::string> keys{"a", "b", "c"};
  for (const auto& key : keys) {
    const auto before = names_in(folder.path());
    cache.store(key, binary);
    for (const auto& name : names_in(folder.path())) {
      if (!before.contains(name)) set_age(folder / name, 100s * (key[0] == 'a' ? 3 : key[0] == 'b' ? 2 : 1));
    }
  }
  folder.write("not ours", std::string(5000, 'x'));
  EXPECT_TRUE(cache.find("a"));  // now the one used last
  cache.store("d", binary);
  EXPECT_TRUE(holds(cache, "a", binary));
  EXPECT_FALSE(cache.find("b"));
  EXPECT_TRUE(holds(cache, "c", binary));
  EXPECT_TRUE(holds(cache, "d", binary));
  EXPECT_TRUE(std::filesystem::exists(folder / "not ours"));
}

TEST(Cache, RemovesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  folder.write("0123456789abcdef.a1B2c3.tmp", "old");
  folder.write("0123456789abcdef.d1E2f3.tmp", "of a process at work");
  folder.write("someone's.tmp", "");
  set_age(folder / "0123456789abcdef.a1B2c3.tmp", 3600s);
  set_age(folder / "someone's.tmp", 3600s);
  Cache(folder.path()).store("key", kBinary);
  const auto names = names_in(folder.path());
  EXPECT_EQ(names.size(), 3u);
  EXPECT_TRUE(names.contains("0123456789abcdef.d1E2f3.tmp"));
  EXPECT_TRUE(names.contains("someone's.tmp"));
}

TEST(Cache, ThreadsNeverSeeAPart) {
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  const auto binary_of = [](int i) {
    return Binary{.code = std::string(static_cast<std::size_t>(1000 * (i % 7 + 1)), static_cast<char>('a' + i % 7)),
                  .symbol = ""};
  };
  cache.store("key", binary_of(0));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 50; ++i) {
        cache.store("key", binary_of(thread + i));
        const auto found = cache.find("key");
        ASSERT_TRUE(found);
        EXPECT_EQ(found->code, std::string(found->code.size(), found->code[0]));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(names_in(folder.path()).size(), 1u);
}

TEST(CacheFolder, FollowsTheEnvironment) {
  const Variable named("ANACT_CACHE", "/some/where"), home("HOME", "/home/user"), xdg("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(cache_folder(), "/some/where/cuda");
  const Variable unnamed("ANACT_CACHE", "");
  EXPECT_EQ(cache_folder(), "/xdg/anact/cuda");
  for (const char* ignored : {"", "relative"}) {
    const Variable other("XDG_CACHE_HOME", ignored);
    EXPECT_EQ(cache_folder(), "/home/user/.cache/anact/cuda");
    const Variable homeless("HOME", "");
    EXPECT_EQ(cache_folder(), "");
  }
}

}  // namespace
}  // namespace anact::gpu
