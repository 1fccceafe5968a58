#include "data/image_folder.h"

#include <gtest/gtest.h>

#include "data/encode.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::encode_png;
using test::message_about;
using test::TemporaryFolder;

using Strings = std::vector<std::string>;

// One colour all over.
std::string png(std::uint32_t height, std::uint32_t width, std::uint8_t red, std::uint8_t green, std::uint8_t blue) {
  std::vector<std::uint8_t> values;
  for (std::uint32_t i = 0; i < height * width; ++i) values.insert(values.end(), {red, green, blue});
  return encode_png(height, width, values);
}

class ImageFolder : public testing::Test {
 protected:
  ImageFolder() {
    for (const char* name : {"train/dog", "train/cat", "val/cat", "val/dog"}) {
      std::filesystem::create_directories(folder_ / name);
    }
    folder_.write("train/dog/b.png", png(4, 8, 1, 2, 3));
    folder_.write("train/dog/A.PNG", png(9, 5, 4, 5, 6));
    folder_.write("train/cat/x.jpeg", test::encode_jpeg(16, 16, std::vector<std::uint8_t>(768, 90)));
    folder_.write("train/cat/.hidden", "");
    folder_.write("val/cat/1.png", png(4, 4, 7, 8, 9));
    folder_.write("val/dog/1.png", png(4, 4, 10, 11, 12));
  }

  Source source() const { return folder_source(folder_.path(), 4); }
  std::string complaint(const std::string& name) const {
    return message_about(folder_ / name, [&] { (void)source(); });
  }
  // The same where the file lies right in the set's folder.
  std::string complaint() const {
    return message_about(folder_.path(), [&] { (void)source(); });
  }

  TemporaryFolder folder_;
};

TEST_F(ImageFolder, IsSortedByClassAndName) {
  const auto content = source().read();
  EXPECT_EQ(content.shape, (Shape{.channels = 3, .height = 4, .width = 4}));
  EXPECT_EQ(content.class_names, Strings({"cat", "dog"}));
  EXPECT_EQ(content.train.labels, (std::vector<std::int32_t>{0, 1, 1}));
  EXPECT_EQ(content.test.labels, (std::vector<std::int32_t>{0, 1}));
  std::vector<std::uint8_t> pixels(48);
  content.train.read(0, pixels);
  EXPECT_EQ(pixels, std::vector<std::uint8_t>(48, 90));
  content.train.read(1, pixels);
  std::vector<std::uint8_t> expected(16, 4);
  expected.insert(expected.end(), 16, 5);
  expected.insert(expected.end(), 16, 6);
  EXPECT_EQ(pixels, expected);
  content.test.read(1, pixels);
  EXPECT_EQ(pixels[0], 10);
}

TEST_F(ImageFolder, TakesTestWhereThereIsNoVal) {
  std::filesystem::rename(folder_ / "val", folder_ / "test");
  const auto source = this->source();
  EXPECT_EQ(source.read().test.labels.size(), 2u);
  EXPECT_EQ(source.files.back(), "test/dog/1.png");
  std::filesystem::rename(folder_ / "test", folder_ / "elsewhere");
  EXPECT_EQ(complaint(), "no folder val or test");
  std::filesystem::rename(folder_ / "train", folder_ / "also elsewhere");
  EXPECT_EQ(complaint(), "no folder train");
}

TEST_F(ImageFolder, SplitsMustHaveTheSameClasses) {
  std::filesystem::create_directory(folder_ / "val/bird");
  EXPECT_EQ(complaint("val/bird"), "not among the classes of '" + (folder_ / "train").string() + "'");
  std::filesystem::remove(folder_ / "val/bird");
  std::filesystem::rename(folder_ / "val/cat", folder_ / "cat");
  EXPECT_EQ(complaint("val"), "no folder cat; expected the classes of '" + (folder_ / "train").string() + "'");
}

TEST_F(ImageFolder, RefusesWhatIsNoSet) {
  std::filesystem::create_directory(folder_ / "train/ant");
  std::filesystem::create_directory(folder_ / "val/ant");
  EXPECT_EQ(complaint("train/ant"), "no images; expected at least one");
  folder_.write("train/ant/notes.txt", "");
  EXPECT_EQ(complaint("train/ant/notes.txt"), "expected an image, *.jpg, *.jpeg or *.png");
  std::filesystem::remove(folder_ / "train/ant/notes.txt");
  std::filesystem::create_directory(folder_ / "train/ant/more");
  EXPECT_EQ(complaint("train/ant/more"), "a folder; expected only images here");
  folder_.write("train/readme", "");
  EXPECT_EQ(complaint("train/readme"), "expected only folders here, one a class");
}

TEST_F(ImageFolder, RefusesNamesThatAreNoText) {
  const auto name = folder_ / "train/caf\xe9";
  std::filesystem::create_directory(name);
  EXPECT_EQ(message([&] { (void)source(); }),
            "'" + (folder_ / "train/caf?").string() + "': expected the name of a class in UTF-8");
}

TEST_F(ImageFolder, RefusesLinksOutOfTheTree) {
  const TemporaryFolder elsewhere;
  std::filesystem::create_symlink(elsewhere.write("secret.png", png(4, 4, 1, 1, 1)), folder_ / "train/cat/link.png");
  const auto out = "a symbolic link out of '" + (folder_ / "train").string() + "'";
  EXPECT_EQ(complaint("train/cat/link.png"), out);
  std::filesystem::remove(folder_ / "train/cat/link.png");
  std::filesystem::create_symlink(elsewhere.path(), folder_ / "train/elk");
  EXPECT_EQ(complaint("train/elk"), out);
}

TEST_F(ImageFolder, NamesTheImageThatIsNone) {
  const auto path = folder_.write("train/dog/A.PNG", "text");
  const auto content = source().read();
  std::vector<std::uint8_t> pixels(48);
  EXPECT_EQ(message_about(path, [&] { content.train.read(1, pixels); }),
            "begins with 'text'; expected a JPEG or PNG image");
}

TEST_F(ImageFolder, ImageSizeHasLimits) {
  for (const std::int64_t size : {-1, 0, 1025}) {
    EXPECT_THROW((void)folder_source(folder_.path(), size), std::invalid_argument);
  }
  EXPECT_NE(folder_source(folder_.path(), 1).options, folder_source(folder_.path(), 1024).options);
}

}  // namespace
}  // namespace anact::data
