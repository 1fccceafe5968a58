#include "data/digest.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "data/source.h"
#include "text/words.h"

namespace anact::data {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 20;

void check_algorithm(const std::string& algorithm) {
  if (algorithm == "md5" || algorithm == "sha256") return;
  throw std::invalid_argument("digest algorithm '" + algorithm + "'; expected md5 or sha256");
}

std::string hexadecimal(std::span<const unsigned char> bytes) {
  std::string digits;
  for (const unsigned char byte : bytes) digits += text::format("%02x", byte);
  return digits;
}

}  // namespace

std::string text_digest(std::string_view text, const std::string& algorithm) {
  check_algorithm(algorithm);
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  std::size_t length = 0;
  if (EVP_Q_digest(nullptr, algorithm.c_str(), nullptr, text.data(), text.size(), bytes.data(), &length) != 1) {
    throw std::runtime_error("this OpenSSL does not do " + algorithm);
  }
  return hexadecimal({bytes.data(), length});
}

std::string file_digest(const std::filesystem::path& path, const std::string& algorithm, const ByteProgress& progress) {
  check_algorithm(algorithm);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) throw std::runtime_error("cannot open " + quote_path(path) + ": " + std::strerror(errno));
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  const auto* method = EVP_get_digestbyname(algorithm.c_str());
  if (!context || method == nullptr || EVP_DigestInit_ex(context.get(), method, nullptr) != 1) {
    throw std::runtime_error("cannot check " + quote_path(path) + ": this OpenSSL does not do " + algorithm);
  }
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  const auto of = ignored ? 0 : static_cast<std::int64_t>(size);
  std::int64_t done = 0;
  std::vector<char> block(kBlock);
  while (const auto count = std::fread(block.data(), 1, block.size(), file.get())) {
    EVP_DigestUpdate(context.get(), block.data(), count);
    done += static_cast<std::int64_t>(count);
    if (progress) progress(done, of);
  }
  if (std::ferror(file.get()) != 0) {
    throw std::runtime_error("cannot read " + quote_path(path) + ": " + std::strerror(errno));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned length = 0;
  EVP_DigestFinal_ex(context.get(), bytes.data(), &length);
  return hexadecimal({bytes.data(), length});
}

void check_digest(const std::filesystem::path& path, const Digest& expected, const ByteProgress& progress) {
  const auto found = file_digest(path, expected.algorithm, progress);
  if (found != expected.value) {
    fail(path, expected.algorithm + " " + found + "; expected " + expected.value);
  }
}

}  // namespace anact::data
