#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/file_size_limit.h"
#include "support/message.h"
#include "support/temporary_folder.h"

namespace anact::io {
namespace {

using nlohmann::json;
using test::content_of;
using test::FileSizeLimit;
using test::names_in;
using test::TemporaryFolder;
using Shape = std::vector<std::int64_t>;

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
std::string text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// A file of any header and data.
std::string raw(const std::string& header, const std::string& data = "") {
  std::string content;
  for (int i = 0; i < 8; ++i) content += static_cast<char>(header.size() >> 8 * i & 0xff);
  return content + header + data;
}

// What reading the content complains of, without the path.
std::string complaint(const std::string& content) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", content);
  auto text = message([&] { Safetensors file(path); });
  const auto prefix = "'" + path.string() + "': ";
  if (text.starts_with(prefix)) text.erase(0, prefix.size());
  return text;
}

// A library that compares each tensor with all others would take minutes.
TEST(Safetensors, HoldsAHundredThousandTensors) {
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < 100'000; ++i) tensors.push_back({"t" + std::to_string(i), "F32", {0}, {}});
  const TemporaryFolder folder;
  write_safetensors(folder / "many", tensors, {});
  EXPECT_EQ(Safetensors(folder / "many").tensors().size(), 100'000u);
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  return '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

struct Example {
  std::string floats = std::string("\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40", 12);
  std::string byte = "\x2a";
  std::vector<NamedTensor> tensors{{"weight", "F32", {3, 1}, bytes(floats)},
                                   {"a.b", "U8", {}, bytes(byte)},
                                   {"none", "BF16", {2, 0, 5}, {}},
                                   {"last", "I8", {1}, bytes(byte)}};
};

TEST(Safetensors, ReadsWhatItWrote) {
  const TemporaryFolder folder;
  const Example example;
  const Metadata metadata{{"format", "pt"}, {"text", "one\n\"two\" λ"}};
  write_safetensors(folder / "file", example.tensors, metadata);
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"file"});
  const Safetensors file(folder / "file");
  ASSERT_EQ(file.tensors().size(), 4u);
  std::map<std::string, NamedTensor> found;
  for (const auto& tensor : file.tensors()) found[tensor.name] = tensor;
  for (const auto& expected : example.tensors) {
    const auto& read = found.at(expected.name);
    EXPECT_EQ(read.dtype, expected.dtype);
    EXPECT_EQ(read.shape, expected.shape);
    EXPECT_EQ(text_of(read.data), text_of(expected.data));
  }
  EXPECT_EQ(file.tensors().front().name, "weight");
  auto with_checksum = metadata;
  char crc[9];
  const auto data = example.floats + example.byte + example.byte;
  std::snprintf(crc, sizeof crc, "%08lx", ::crc32(0, reinterpret_cast<const Bytef*>(data.data()), 14));
  with_checksum["crc32"] = crc;
  EXPECT_EQ(file.metadata(), with_checksum);
}

TEST(Safetensors, TheFileIsTheFormats) {
  const TemporaryFolder folder;
  const Example example;
  write_safetensors(folder / "file", example.tensors);
  const auto content = content_of(folder / "file");
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), 8);
  EXPECT_EQ(length % 8, 0u);  // what follows may be mapped as any dtype
  EXPECT_EQ(content.substr(8 + length), example.floats + example.byte + example.byte);
  const auto header = json::parse(content.substr(8, length));
  EXPECT_EQ(content[8], '{');
  EXPECT_EQ(header.size(), 5u);
  EXPECT_EQ(header.at("weight"), json({{"dtype", "F32"}, {"shape", {3, 1}}, {"data_offsets", {0, 12}}}));
  EXPECT_EQ(header.at("a.b"), json({{"dtype", "U8"}, {"shape", json::array()}, {"data_offsets", {12, 13}}}));
  EXPECT_EQ(header.at("none"), json({{"dtype", "BF16"}, {"shape", {2, 0, 5}}, {"data_offsets", {13, 13}}}));
}

TEST(Safetensors, AFileWithoutTensorsIsWhole) {
  const TemporaryFolder folder;
  write_safetensors(folder / "file", {});
  const Safetensors file(folder / "file");
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_EQ(file.metadata(), (Metadata{{"crc32", "00000000"}}));
  EXPECT_EQ(complaint(raw("{}")), "accepted");
  EXPECT_EQ(complaint(raw("{}   ")), "accepted");
}

TEST(Safetensors, ElementSizes) {
  for (const auto& [dtype, size] : {std::pair{"F64", 8},
                                    {"F32", 4},
                                    {"F16", 2},
                                    {"BF16", 2},
                                    {"I64", 8},
                                    {"I32", 4},
                                    {"I16", 2},
                                    {"I8", 1},
                                    {"U8", 1},
                                    {"BOOL", 1}}) {
    EXPECT_EQ(element_size(dtype), static_cast<std::size_t>(size)) << dtype;
  }
  EXPECT_EQ(message([] { (void)element_size("F8"); }), "safetensors: unknown dtype 'F8'");
}

TEST(Safetensors, RefusesToWriteWhatTheFormatHasNot) {
  const TemporaryFolder folder;
  const std::string data(8, 'x');
  const auto refusal = [&](std::vector<NamedTensor> tensors, Metadata metadata = {}) {
    try {
      write_safetensors(folder / "file", tensors, std::move(metadata));
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(refusal({{"a", "U8", {8}, bytes(data)}, {"a", "U8", {8}, bytes(data)}}).find("named 'a'"),
            std::string::npos);
  EXPECT_NE(refusal({{"__metadata__", "U8", {8}, bytes(data)}}).find("__metadata__"), std::string::npos);
  EXPECT_EQ(refusal({{"a", "F32", {3}, bytes(data)}}), "safetensors: 'a' has 8 bytes, which is not what F32 [3] has");
  EXPECT_NE(refusal({{"a", "F32", {-2}, bytes(data)}}).find("F32 [-2]"), std::string::npos);
  EXPECT_NE(refusal({{"a", "F32", {std::int64_t{1} << 62, 4}, bytes(data)}}).find("'a' has 8 bytes"),
            std::string::npos);
  EXPECT_EQ(refusal({{"a", "C64", {1}, bytes(data)}}), "safetensors: unknown dtype 'C64'");
  EXPECT_NE(refusal({{"\xff", "U8", {8}, bytes(data)}}).find("UTF-8"), std::string::npos);
  EXPECT_NE(refusal({}, {{"a", "\xff"}}).find("UTF-8"), std::string::npos);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(Safetensors, LeavesNothingWhenTheDiskFillsUpMidway) {
  const TemporaryFolder folder;
  folder.write("file", "old");
  const std::string data(100'000, 'x');
  const std::vector<NamedTensor> tensors{{"a", "U8", {100'000}, bytes(data)}};
  std::string text;
  {
    const FileSizeLimit limit(4096);
    text = message([&] { write_safetensors(folder / "file", tensors); });
  }
  EXPECT_TRUE(text.starts_with("cannot write '" + (folder / "file").string())) << text;
  EXPECT_EQ(content_of(folder / "file"), "old");
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"file"});
}

TEST(Safetensors, TensorsAreInTheOrderOfTheirOffsets) {
  const TemporaryFolder folder;
  const auto path =
      folder.write("file", raw("{" + tensor("z", "U8", "[2]", 3, 5) + "," + tensor("e", "F64", "[0]", 3, 3) + "," +
                                   tensor("m", "U8", "[3]", 0, 3) + "}",
                               "abcde"));
  const Safetensors file(path);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "m");
  EXPECT_EQ(text_of(file.tensors()[0].data), "abc");
  EXPECT_EQ(file.tensors()[1].name, "e");
  EXPECT_EQ(file.tensors()[2].name, "z");
  EXPECT_EQ(text_of(file.tensors()[2].data), "de");
}

TEST(Safetensors, NamesAFileThatCannotBeRead) {
  const TemporaryFolder folder;
  EXPECT_EQ(message([&] { Safetensors file(folder / "none"); }),
            "cannot open '" + (folder / "none").string() + "': No such file or directory");
}

TEST(Safetensors, SaysWhatIsWrongWithTheHeader) {
  EXPECT_EQ(complaint(""), "it has 0 bytes; expected 8 of the header's length");
  EXPECT_EQ(complaint("1234567"), "it has 7 bytes; expected 8 of the header's length");
  EXPECT_EQ(complaint(std::string("\x03\0\0\0\0\0\0\0{}", 10)),
            "byte 0: a header of 3 bytes; expected at most 2, which the file has after it");
  EXPECT_EQ(complaint(std::string(8, '\xff') + "{}"),
            "byte 0: a header of 18,446,744,073,709,551,615 bytes; expected at most 2, which the file has after it");
  EXPECT_EQ(complaint(std::string(8, '\0')), "byte 8: the header does not begin with '{'");
  EXPECT_EQ(complaint(raw(" {}")), "byte 8: the header does not begin with '{'");
  EXPECT_EQ(complaint(raw("{\"a\":x}")), "byte 13: the header is not JSON here");
  EXPECT_NE(complaint(raw("{")).find("the header is not JSON here"), std::string::npos);
  EXPECT_NE(complaint(raw("{}{}")).find("the header is not JSON here"), std::string::npos);
  EXPECT_NE(complaint(raw(std::string("{}\0", 3))).find("the header is not JSON here"), std::string::npos);
  EXPECT_EQ(complaint(raw(std::string("{}\0{", 4))), "byte 10: the header is not JSON here");
  EXPECT_NE(complaint(raw("{\"\xff\":1}")).find("the header is not JSON here"), std::string::npos);
  EXPECT_NE(complaint(raw("{\"a\":1e999}")).find("out of range"), std::string::npos);
  EXPECT_NE(complaint(raw("{\"a\":" + std::string(100'000, '['))).find("nested deeper"), std::string::npos);
  EXPECT_NE(complaint(raw("{" + tensor("a", "U8", "[[4]]", 0, 4) + "}", "abcd")).find("nested deeper"),
            std::string::npos);
  EXPECT_NE(complaint(raw("{\"a\":{\"b\":{\"c\":{")).find("nested deeper"), std::string::npos);
}

TEST(Safetensors, SaysWhatIsWrongWithATensor) {
  const auto of = [](const std::string& entry) { return complaint(raw("{" + entry + "}", "abcd")); };
  EXPECT_EQ(of(tensor("a", "U8", "[2,2]", 0, 4)), "accepted");
  EXPECT_EQ(of(R"("a":1)"), R"(tensor "a": not an object of dtype, shape and data_offsets)");
  EXPECT_EQ(of(R"("a":{})"), R"(tensor "a": dtype is not a text)");
  EXPECT_EQ(of(R"("a":{"dtype":8})"), R"(tensor "a": dtype is not a text)");
  EXPECT_EQ(of(R"("a":{"dtype":"U8"})"), R"(tensor "a": shape is not a list of integers from 0 to 2^63 - 1)");
  EXPECT_EQ(of(R"("a":{"dtype":"U8","shape":[4]})"),
            R"(tensor "a": data_offsets is not a list of integers from 0 to 2^63 - 1)");
  for (const char* shape :
       {"4", "{}", "[-1]", "[4.0]", "[\"4\"]", "[null]", "[9223372036854775808]", "[18446744073709551616]"}) {
    EXPECT_EQ(of(tensor("a", "U8", shape, 0, 4)), R"(tensor "a": shape is not a list of integers from 0 to 2^63 - 1)")
        << shape;
  }
  EXPECT_EQ(of(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0]})"),
            R"(tensor "a": data_offsets has 1 numbers, not 2)");
  EXPECT_EQ(of(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,2,4]})"),
            R"(tensor "a": data_offsets has 3 numbers, not 2)");
  EXPECT_EQ(of(tensor("a", "F8_E4M3", "[4]", 0, 4)), R"(tensor "a": unknown dtype "F8_E4M3")");
  EXPECT_EQ(of(tensor("a", "U8", "[4294967296,4294967296]", 0, 4)),
            R"(tensor "a": shape [4294967296,4294967296] has more bytes than a file can)");
  EXPECT_EQ(of(tensor("a", "F64", "[1152921504606846976]", 0, 0)),
            R"(tensor "a": shape [1152921504606846976] has more bytes than a file can)");
  EXPECT_EQ(of(tensor("a", "U8", "[5]", 0, 5)),
            R"(tensor "a": data_offsets end at 5; the file has 4 bytes after its header)");
  EXPECT_EQ(of(tensor("a", "F32", "[2]", 0, 4)),
            R"(tensor "a": data_offsets [0,4] do not span the 8 bytes of F32 [2])");
  EXPECT_EQ(of(tensor("a", "U8", "[4]", 4, 0)), R"(tensor "a": data_offsets [4,0] do not span the 4 bytes of U8 [4])");
  EXPECT_EQ(of(tensor("a", "U8", "[4]", 0, 4) + "," + tensor("a", "U8", "[4]", 0, 4)), R"(the header has "a" twice)");
  EXPECT_EQ(of(R"("a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]})"),
            R"(the header has "dtype" twice)");
  EXPECT_EQ(of(tensor("a\\n", "U", "[4]", 0, 4)), R"(tensor "a\n": unknown dtype "U")");
}

TEST(Safetensors, SaysWhereTensorsOverlapOrLeaveHoles) {
  const auto of = [](const std::string& a, const std::string& b) {
    return complaint(raw("{" + a + "," + b + "}", "abcd"));
  };
  EXPECT_EQ(of(tensor("b", "U8", "[2]", 2, 4), tensor("a", "U8", "[2]", 0, 2)), "accepted");
  EXPECT_EQ(of(tensor("a", "U8", "[3]", 0, 3), tensor("b", "U8", "[2]", 2, 4)),
            R"(tensor "b": data begin at 2; expected 3, where the tensor before it ends)");
  EXPECT_EQ(of(tensor("a", "U8", "[4]", 0, 4), tensor("b", "U8", "[4]", 0, 4)),
            R"(tensor "b": data begin at 0; expected 4, where the tensor before it ends)");
  EXPECT_EQ(of(tensor("a", "U8", "[1]", 0, 1), tensor("b", "U8", "[2]", 2, 4)),
            R"(tensor "b": data begin at 2; expected 1, where the tensor before it ends)");
  EXPECT_EQ(of(tensor("a", "U8", "[1]", 1, 2), tensor("b", "U8", "[2]", 2, 4)),
            R"(tensor "a": data begin at 1; expected 0, where the tensor before it ends)");
  EXPECT_EQ(of(tensor("a", "U8", "[1]", 0, 1), tensor("b", "U8", "[2]", 1, 3)),
            "the tensors end at 3; the file has 4 bytes after its header");
  EXPECT_EQ(complaint(raw("{}", "x")), "the tensors end at 0; the file has 1 bytes after its header");
}

TEST(Safetensors, SaysWhatIsWrongWithTheMetadata) {
  EXPECT_EQ(complaint(raw(R"({"__metadata__":[]})")), "__metadata__ is not an object of texts");
  EXPECT_EQ(complaint(raw(R"({"__metadata__":{"a":1}})")), R"(__metadata__: "a" is not a text)");
  EXPECT_EQ(complaint(raw(R"({"__metadata__":{"crc32":"00000000"}})")), "accepted");
  EXPECT_EQ(complaint(raw(R"({"__metadata__":{"crc32":"0"}})")), R"(the tensors' CRC-32 is 00000000; expected "0")");
}

TEST(Safetensors, EveryChangedByteOfTheDataIsFound) {
  const TemporaryFolder folder;
  const Example example;
  write_safetensors(folder / "file", example.tensors);
  const auto content = content_of(folder / "file");
  for (std::size_t i = content.size() - 14; i < content.size(); ++i) {
    auto changed = content;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_NE(complaint(changed).find("the tensors' CRC-32 is "), std::string::npos) << i;
  }
}

// Whatever becomes of the header, either one line says what is wrong, or the tensors' bytes are the ones that were
// written: a name, the metadata and the way in which as many bytes are divided may have changed.
TEST(Safetensors, AChangedHeaderIsRefusedOrHasTheSameBytes) {
  const TemporaryFolder folder;
  const Example example;
  write_safetensors(folder / "file", example.tensors, {{"text", "λ"}});
  const auto content = content_of(folder / "file");
  const auto header = content.size() - 14;
  int refused = 0, accepted = 0;
  for (std::size_t i = 0; i < header; ++i) {
    for (int flip = 1; flip < 256; flip = flip < 128 ? 2 * flip : flip + 127) {
      auto changed = content;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const auto path = folder.write("changed", changed);
      try {
        const Safetensors file(path);
        std::string data;
        for (const auto& tensor : file.tensors()) data += text_of(tensor.data);
        EXPECT_EQ(data, example.floats + example.byte + example.byte) << "byte " << i << ", flip " << flip;
        ++accepted;
      } catch (const std::runtime_error& error) {
        const std::string text = error.what();
        EXPECT_TRUE(text.starts_with("'" + path.string() + "': ")) << text;
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(accepted, 0);
}

TEST(Safetensors, AFileThatIsCutAnywhereIsRefused) {
  const TemporaryFolder folder;
  const Example example;
  write_safetensors(folder / "file", example.tensors);
  const auto content = content_of(folder / "file");
  for (std::size_t length = 0; length < content.size(); ++length) {
    EXPECT_NE(complaint(content.substr(0, length)), "accepted") << length;
  }
  EXPECT_EQ(complaint(content), "accepted");
  EXPECT_NE(complaint(content + "x"), "accepted");
}

}  // namespace
}  // namespace anact::io
