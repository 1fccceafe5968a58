#!/usr/bin/env bash
# Formats our own C++ and Python files; with --check only says what is not formatted, and lints Python and shell files.
# The layout is that of clang-format 14 (Debian 12); another one can be named with CLANG_FORMAT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

clang_format=${CLANG_FORMAT:-clang-format}
ruff=.venv/bin/ruff
folders=()
for folder in include src lab tests; do
  if [[ -d $folder ]]; then
    folders+=("$folder")
  fi
done
mapfile -d '' -t cpp < <(find "${folders[@]}" \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' \) -print0)

if [[ ${1:-} != --check ]]; then
  "$clang_format" -i "${cpp[@]}"
  "$ruff" format --quiet .
  echo "format: ${#cpp[@]} C++ files and all Python files are formatted"
  exit
fi

failed=0
"$clang_format" --dry-run -Werror "${cpp[@]}" || failed=1
"$ruff" format --quiet --check --diff . || failed=1
"$ruff" check --quiet . || failed=1
if command -v shellcheck >/dev/null; then
  shellcheck scripts/*.sh .ci/run || failed=1
else
  echo "format-check: shellcheck is not installed, so the shell scripts were not checked"
fi
if ((failed)); then
  echo "format-check: failed with $("$clang_format" --version); 'make format' repairs the layout" >&2
  exit 1
fi
echo "format-check: ${#cpp[@]} C++ files and all Python files pass"
