#!/usr/bin/env bash
# How many compilers to run at once: one a processor, but no more than memory holds (LibTorch's headers take 2 GiB each).
set -euo pipefail
memory=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo 2>/dev/null || true)
jobs=$(nproc)
if [[ -n $memory ]] && ((memory < jobs)); then
  jobs=$memory
fi
echo $((jobs > 0 ? jobs : 1))
