#!/usr/bin/env bash
# Measures the speed of the operator, under AVX2 and under AVX-512 where the processor has it, and of whole training steps;
# writes results/bench/*.csv and the README's tables of speed. Takes about twenty minutes on an idle machine.
#
#   scripts/bench.sh [ARGUMENT_OF_ANACT_BENCH...]     such as --rounds 5
#   scripts/bench.sh --check                          every row once, short; of the largest tensors silu's; writes nothing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

anact=build/anact
if [[ ${1:-} == --check ]]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # The largest tensors with one activation only: with all, they would take most of an hour.
  for arguments in "--sizes 4096 65536 1048576" "--activations silu" --steps; do
    echo "bench: every row of 'anact bench $arguments' once"
    # shellcheck disable=SC2086  # several words
    $anact bench $arguments --rounds 1 --seconds 0.01 --csv "$scratch/rows.csv" >"$scratch/log" 2>&1 || {
      tail -20 "$scratch/log" >&2
      exit 1
    }
    echo "bench: $(($(wc -l <"$scratch/rows.csv") - 1)) rows, each right"
  done
  exit
fi
folder=results/bench
sets=$($anact info | sed -n 's/^instruction_sets *//p')
mkdir -p $folder

operators() { # FILE INSTRUCTION_SET ARGUMENTS
  if [[ " $sets " != *" $2 "* ]]; then
    echo "bench: this processor has no $2: $folder/$1 stays as it is"
    return
  fi
  echo "bench: the operator, $2"
  $anact bench --instruction-set "$2" --csv $folder/"$1" "${@:3}"
}

operators avx2.csv AVX2 "$@"
operators avx512.csv AVX3 "$@"
echo "bench: whole training steps"
$anact bench --steps --csv $folder/steps.csv
echo "bench: the same with glibc's malloc as it comes, which this setting keeps"
GLIBC_TUNABLES=glibc.malloc.tcache_count=7 $anact bench --steps --csv $folder/steps-plain-malloc.csv
scripts/update_readme.py speed
