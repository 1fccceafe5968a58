#include "io/file_lock.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

#include "support/temporary_folder.h"

namespace anact::io {
namespace {

TEST(FileLock, IsHeldByOne) {
  const test::TemporaryFolder folder;
  auto lock = FileLock::take(folder / "lock", false);
  ASSERT_TRUE(lock);
  EXPECT_FALSE(FileLock::take(folder / "lock", false));
  lock.reset();
  EXPECT_TRUE(FileLock::take(folder / "lock", false));
  EXPECT_THROW((void)FileLock::take(folder / "missing" / "lock", false), std::runtime_error);
}

// Holders that remove the file when they are done must not let two in: one by the old file, one by a new one.
TEST(FileLock, AFileThatItsHolderRemovesLetsOneIn) {
  const test::TemporaryFolder folder;
  const auto path = folder / "lock";
  int inside = 0;  // not atomic: the lock is what orders it
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 200; ++j) {
          const auto lock = FileLock::take(path, true);
          EXPECT_EQ(++inside, 1);
          std::this_thread::yield();
          --inside;
          std::filesystem::remove(path);
        }
      });
    }
  }
  EXPECT_EQ(inside, 0);
}

}  // namespace
}  // namespace anact::io
