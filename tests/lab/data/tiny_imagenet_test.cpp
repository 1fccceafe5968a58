#include "data/tiny_imagenet.h"

#include <gtest/gtest.h>

#include "data/encode.h"
#include "data/samples.h"
#include "support/temporary_folder.h"

namespace anact::data {
namespace {

using test::encode_jpeg;
using test::message_about;
using test::TemporaryFolder;

using Strings = std::vector<std::string>;

std::string jpeg(std::uint8_t value, int height = 64, int width = 64) {
  return encode_jpeg(height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3), value));
}

class TinyImageNet : public testing::Test {
 protected:
  TinyImageNet() {
    for (const char* name : {"train/n00000002/images", "train/n00000001/images", "val/images"}) {
      std::filesystem::create_directories(folder_ / name);
    }
    folder_.write("wnids.txt", "n00000002\nn00000001\n");
    folder_.write("words.txt", "n00000001\tcat\nn00000002\tsea lion, seal\nn00000003\tcat\n");
    folder_.write("train/n00000002/n00000002_boxes.txt", "");
    folder_.write("train/n00000002/images/n00000002_1.JPEG", jpeg(10));
    folder_.write("train/n00000002/images/n00000002_0.JPEG", jpeg(20));
    folder_.write("train/n00000001/images/n00000001_0.JPEG", jpeg(30));
    folder_.write("val/images/val_0.JPEG", jpeg(40));
    folder_.write("val/images/val_1.JPEG", jpeg(50));
    folder_.write("val/val_annotations.txt", annotations_);
  }

  Content read() const { return tiny_imagenet_source(folder_.path()).read(); }
  std::string complaint(const std::string& name) const {
    return message_about(folder_ / name, [&] { (void)read(); });
  }
  std::string complaint(const std::string& name, const std::string& content) const {
    folder_.write(name, content);
    return complaint(name);
  }

  const std::string annotations_ = "val_1.JPEG\tn00000001\t0\t0\t1\t1\nval_0.JPEG\tn00000002\t0\t0\t1\t1\n";
  TemporaryFolder folder_;
};

TEST_F(TinyImageNet, FollowsItsLists) {
  const auto source = tiny_imagenet_source(folder_.path());
  EXPECT_EQ(source.name, "tiny-imagenet");
  EXPECT_EQ(source.files.size(), 8u);
  const auto content = source.read();
  EXPECT_EQ(content.shape, (Shape{.channels = 3, .height = 64, .width = 64}));
  EXPECT_EQ(content.class_names, Strings({"sea lion, seal", "cat"}));
  EXPECT_EQ(content.train.labels, (std::vector<std::int32_t>{0, 0, 1}));
  EXPECT_EQ(content.test.labels, (std::vector<std::int32_t>{1, 0}));
  std::vector<std::uint8_t> pixels(64 * 64 * 3);
  const auto value = [&](const Split& split, std::int64_t index) {
    split.read(index, pixels);
    return int{pixels[0]};
  };
  EXPECT_EQ(value(content.train, 0), 20);
  EXPECT_EQ(value(content.train, 1), 10);
  EXPECT_EQ(value(content.train, 2), 30);
  EXPECT_EQ(value(content.test, 0), 50);
  EXPECT_EQ(value(content.test, 1), 40);
}

// The whole set's folder with a shorter list.
TEST_F(TinyImageNet, PassesOverOtherClasses) {
  folder_.write("wnids.txt", "n00000001\r\n");
  const auto content = read();
  EXPECT_EQ(content.class_names, Strings({"cat"}));
  EXPECT_EQ(content.train.labels, std::vector<std::int32_t>{0});
  EXPECT_EQ(content.test.labels, std::vector<std::int32_t>{0});
}

TEST_F(TinyImageNet, TellsApartClassesOfOneWord) {
  folder_.write("words.txt", "n00000001\tcrane\nn00000002\tcrane\n");
  EXPECT_EQ(read().class_names, Strings({"crane (n00000002)", "crane (n00000001)"}));
}

TEST_F(TinyImageNet, ChecksItsClasses) {
  EXPECT_EQ(complaint("wnids.txt", ""), "no lines; expected a class on each");
  EXPECT_EQ(complaint("wnids.txt", "n00000001\nn00000002\nn00000001\n"), "line 3: n00000001 a second time");
  EXPECT_EQ(complaint("wnids.txt", "n00000001\n\n"), "line 2: ''; expected an identifier like n01443537");
  for (const char* path : {"../../etc", "n0000000/", "/etc", "N00000001", "n000000011", ".."}) {
    EXPECT_EQ(complaint("wnids.txt", path + std::string("\n")),
              "line 1: '" + std::string(path) + "'; expected an identifier like n01443537");
  }
  folder_.write("wnids.txt", "n00000001\nn00000004\n");
  EXPECT_EQ(complaint("words.txt"), "no line for the class n00000004");
  EXPECT_EQ(complaint("words.txt", "n00000001\tcat\nn00000004\tcaf\xe9\n"),
            "line 2: 'caf?'; expected the name of a class, in UTF-8");
  EXPECT_EQ(complaint("words.txt", "n00000001\n"), "line 1: ''; expected the name of a class, in UTF-8");
  folder_.write("words.txt", "n00000001\tcat\nn00000004\tdog\n");
  EXPECT_EQ(complaint("train"), "no folder n00000004");
}

TEST_F(TinyImageNet, ChecksItsTestImages) {
  const std::string name = "val/val_annotations.txt";
  const auto folder = "'" + (folder_ / "val/images").string() + "'";
  EXPECT_EQ(complaint(name, annotations_ + "val_0.JPEG\tn00000001\n"), "line 3: 'val_0.JPEG' a second time");
  EXPECT_EQ(complaint(name, annotations_ + "val_2.JPEG\tn00000001\n"), "line 3: no file 'val_2.JPEG' in " + folder);
  for (const char* path : {"../images/val_0.JPEG", "/etc/passwd", "..", "./val_0.JPEG"}) {
    EXPECT_EQ(complaint(name, path + std::string("\tn00000001\n")),
              "line 1: no file '" + std::string(path) + "' in " + folder);
  }
  for (const char* line : {"", "val_0.JPEG", "\tn00000001", "val_0.JPEG\tcat", "val_0.JPEG n00000001"}) {
    EXPECT_EQ(complaint(name, line + std::string("\n")),
              "line 1: expected the name of an image, a tab and an identifier like n01443537");
  }
  EXPECT_EQ(complaint(name, "val_0.JPEG\tn00000001\nval_1.JPEG\tn00000001\n"), "no image of the class n00000002");
  folder_.write(name, "val_0.JPEG\tn00000001\n");
  EXPECT_EQ(complaint("val/images/val_1.JPEG"), "no line in '" + (folder_ / name).string() + "'");
}

TEST_F(TinyImageNet, ChecksItsFolders) {
  std::filesystem::remove(folder_ / "train/n00000001/images/n00000001_0.JPEG");
  EXPECT_EQ(complaint("train/n00000001/images"), "no images; expected at least one");
  const TemporaryFolder elsewhere;
  std::filesystem::create_symlink(elsewhere.write("a.JPEG", jpeg(1)), folder_ / "train/n00000001/images/a.JPEG");
  EXPECT_EQ(complaint("train/n00000001/images/a.JPEG"), "a symbolic link out of '" + folder_.path().string() + "'");
  std::filesystem::remove_all(folder_ / "train/n00000001");
  EXPECT_EQ(complaint("train"), "no folder n00000001");
  std::filesystem::create_directory_symlink(elsewhere.path(), folder_ / "train/n00000001");
  EXPECT_EQ(complaint("train/n00000001"), "a symbolic link out of '" + folder_.path().string() + "'");
}

TEST_F(TinyImageNet, ChecksItsImages) {
  const auto path = folder_.write("train/n00000001/images/n00000001_0.JPEG", jpeg(1, 64, 63));
  std::vector<std::uint8_t> pixels(64 * 64 * 3);
  const auto decode = [&] { read().train.read(2, pixels); };
  EXPECT_EQ(message_about(path, decode), "an image of 63x64 pixels; expected 64x64");
  const auto content = jpeg(1);
  folder_.write("train/n00000001/images/n00000001_0.JPEG", content.substr(0, content.size() - 2));
  EXPECT_EQ(message_about(path, decode), "Premature end of JPEG file; expected a whole JPEG file");
}

}  // namespace
}  // namespace anact::data
