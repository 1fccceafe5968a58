#!/usr/bin/env bash
# Builds the kernels and their tests for 64-bit ARM and runs them under QEMU's user-mode emulation.
#
# Needs Debian's g++-aarch64-linux-gnu and qemu-user. Highway and GoogleTest for arm64 are downloaded with apt-get into the
# build folder and installed nowhere. Exits with 77, "skipped", where any of these cannot be had.
#
#   test_aarch64.sh [BUILD_FOLDER [ARGUMENT_OF_THE_TEST_PROGRAM...]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:-build/aarch64}
shift || true
compiler=aarch64-linux-gnu-g++
sysroot=/usr/aarch64-linux-gnu

skip() {
  echo "test_aarch64: skipped: $*" >&2
  exit 77
}

# Downloads the arm64 packages, with apt's state kept in the build folder: the system's own is left as it is.
fetch_packages() {
  local folder=$1 state
  state=$(realpath "$build")/apt
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$folder"
  local options=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o Dir::State::status=/dev/null)
  (
    cd "$state"
    apt-get "${options[@]}" update && apt-get "${options[@]}" download libhwy-dev libhwy1 libgtest-dev
  ) >"$state/log" 2>&1 || return 1
  local package
  for package in "$state"/*_arm64.deb; do
    dpkg -x "$package" "$folder"
  done
}

for tool in "$compiler" qemu-aarch64 apt-get dpkg; do
  command -v "$tool" >/dev/null || skip "there is no $tool (packages g++-aarch64-linux-gnu and qemu-user)"
done
mkdir -p "$build"
packages=$(realpath "$build")/packages
if [[ ! -e $packages/done ]]; then
  rm -rf "$packages"
  fetch_packages "$packages" || skip "libhwy-dev and libgtest-dev for arm64 cannot be downloaded; see $build/apt/log"
  touch "$packages/done"
fi

library=$packages/usr/lib/aarch64-linux-gnu
flags=(-std=c++20 -O2 -ffp-contract=off -Wall -Wextra -Wpedantic -Werror -Wno-psabi -Iinclude -Isrc -Itests -Itests/src
  -isystem "$packages/usr/include")
objects=()
for source in src/math/*.cpp src/kernels/cpu/*.cpp tests/src/kernels/*_test.cpp; do
  object=$build/${source//\//_}.o
  objects+=("$object")
  if [[ ! -e $object ]] || [[ -n $(find src/kernels src/math include tests/src/kernels -newer "$object" -type f) ]]; then
    echo "test_aarch64: compiling $source"
    "$compiler" "${flags[@]}" -c "$source" -o "$object"
  fi
done
"$compiler" "${objects[@]}" -L"$library" -lgtest -lgtest_main -lhwy -pthread -o "$build/kernels_test"
exec qemu-aarch64 -cpu max -L "$sysroot" -E LD_LIBRARY_PATH="$library" "$build/kernels_test" "$@"
