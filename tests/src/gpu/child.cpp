// A process of its own for the tests: what is loaded in one stays loaded.
//   gpu_child describe FOLDER            the rows of gpu::describe, a tab between name and value
//   gpu_child get FOLDER EXPRESSION…     "function" or what was reported, a line an expression
//   gpu_child compile FOLDER ARCHITECTURE SOURCE HEADER EXPRESSION
//                                        the compiler's version, and what kind of code it made
// FOLDER is libtorch's. The library that ANACT_OPEN_FIRST names is opened before all else, and with
// ANACT_KILL_AT_RENAME the process is killed when it is to put a file in place.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "gpu/gpu.h"
#include "gpu/nvrtc.h"
#include "gpu/programs.h"

// In place of the C library's.
extern "C" int rename(const char* from, const char* to) noexcept {
  if (std::getenv("ANACT_KILL_AT_RENAME") != nullptr) ::raise(SIGKILL);
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

namespace {

using namespace anact::gpu;

std::string content_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

int run(int count, char** words) {
  const std::string command = words[1];
  const std::vector<std::filesystem::path> folders{words[2]};
  if (command == "describe") {
    for (const auto& [name, value] : describe(folders)) std::cout << name << "\t" << value << "\n";
  } else if (command == "get") {
    Programs programs(
        {.main = {.name = "kernel.cu", .text = "source"}, .headers = {}, .options = {}}, Cache(cache_folder()),
        [&] { return open_cuda(folders); }, [](const std::string& failure) { std::cout << failure << "\n"; });
    for (int i = 3; i < count; ++i) {
      if (programs.get(0, words[i]) != nullptr) std::cout << "function\n";
    }
  } else if (command == "compile" && count == 7) {
    const auto nvrtc = find_nvrtc({.torch_folders = folders});
    const auto binary = nvrtc->compile({.main = {.name = "kernel.cu", .text = content_of(words[4])},
                                        .headers = {{.name = "header.h", .text = content_of(words[5])}},
                                        .options = {"--std=c++20"}},
                                       words[6], words[3]);
    const bool elf = binary.code.starts_with(
        "\x7f"
        "ELF");
    const auto target = binary.code.find(".target ");
    std::cout << nvrtc->version() << "\n"
              << (elf ? "cubin" : binary.code.substr(target, binary.code.find_first_of(",\n", target) - target)) << "\n"
              << (binary.code.find(binary.symbol) != std::string::npos ? "has " : "lacks ") << binary.symbol << "\n";
  } else {
    return 2;
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  if (const char* first = std::getenv("ANACT_OPEN_FIRST"); first != nullptr) ::dlopen(first, RTLD_NOW | RTLD_LOCAL);
  try {
    return run(count, words);
  } catch (const Error& error) {
    std::cout << error.what() << "\n";
    return 1;
  }
}
