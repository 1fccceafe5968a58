#!/usr/bin/env bash
# Builds the package's wheels for the releases of PyTorch that are named, tests each in a clean environment, and
# puts them into dist/wheels with an index for pip, dist/wheels/simple.
#
#   scripts/wheels.sh [--force] RELEASE...     such as 2.13.0 2.12.1; --force: also those that are there
#
# Run again, it builds only what is missing or was built from other sources. A release is downloaded as pip finds it: 0.2 GB,
# or some GB where that is the CUDA build, and is gone again from the disk when its wheel is tested. Environment variables:
#   PYTHON           the Python, 3.10 or newer, that the wheels are for (python3)
#   ANACT_PIP_ARGS   further arguments for pip when it installs torch, such as another index to take it from
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
output=dist/wheels
minimum=$(sed -n 's/^MINIMUM = "\(.*\)"/\1/p' python/torch_release.py)
read -r -a pip_arguments <<<"${ANACT_PIP_ARGS:-}"

say() { echo "wheels: $*"; }
fail() {
  echo "wheels: error: $*" >&2
  exit 1
}
usage() {
  echo "wheels: error: $*; expected [--force] RELEASE..., such as $minimum.0" >&2
  exit 2
}

force=
releases=()
declare -A release_of
for argument; do
  case $argument in
    --force) force=1 ;;
    -*) usage "unknown option '$argument'" ;;
    *)
      [[ $argument =~ ^([0-9]+\.[0-9]+)\.[0-9]+$ ]] || usage "'$argument' is no release of PyTorch"
      series=${BASH_REMATCH[1]}
      if [[ $(printf '%s\n' "$minimum" "$series" | sort -V | head -n 1) != "$minimum" ]]; then
        usage "PyTorch $argument is too old: $minimum is the oldest"
      fi
      if [[ -n ${release_of[$series]:-} ]]; then
        usage "${release_of[$series]} and $argument have one wheel, that of $series"
      fi
      release_of[$series]=$argument
      releases+=("$argument")
      ;;
  esac
done
((${#releases[@]})) || usage "no release of PyTorch"
command -v "$python" >/dev/null || fail "there is no '$python'; name a Python 3.10 or newer with PYTHON=/path/to/python"

# The environments and what is compiled: gone at the end, however it comes. The logs stay.
work=build/wheels
mkdir -p "$work" "$output"
exec 9>"$work/lock"
flock --nonblock 9 || fail "another scripts/wheels.sh is at work here"
work=$PWD/$work
clear() { rm -rf "$work"/{builder,clean,new,scratch}; }
trap 'clear; rm -rf "$work/build"' EXIT

# What a wheel is made from: what an sdist holds, and the Python.
sources=$(
  {
    find CMakeLists.txt LICENSE README.md pyproject.toml cmake include python src -type f ! -path '*/__pycache__/*' \
      -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    "$python" -VV
  } | sha256sum | cut -d ' ' -f 1
)

# Runs a command without what the shell says of Pythons and LibTorch, its output in the log.
logged() {
  env --unset=PYTHONPATH --unset=PYTHONHOME --unset=VIRTUAL_ENV --unset=CONDA_PREFIX --unset=TORCH_PYTHON \
    --unset=Torch_DIR "$@" >>"$log" 2>&1
}

failed() {
  tail -n 20 "$log" >&2
  fail "PyTorch $release: $1 failed; the whole log is $log"
}

build_wheel() {
  local start=$SECONDS user system wheel pip=(-m pip --disable-pip-version-check --no-input)
  clear
  mkdir "$work/scratch"
  : >"$log"
  say "PyTorch $release: building"
  # pip compiles in an environment beside this one, which is left with PyTorch alone.
  logged "$python" -m venv "$work/builder" || failed "making an environment"
  logged "$work/builder/bin/python" "${pip[@]}" install --no-compile "${pip_arguments[@]}" "torch==$release" numpy ||
    failed "installing torch==$release"
  TIMEFORMAT='%0U %0S'
  # In one folder for all of them: what includes nothing of LibTorch is compiled once.
  { time logged env "SKBUILD_BUILD_DIR=$work/build" \
    "$work/builder/bin/python" "${pip[@]}" wheel --no-deps --wheel-dir "$work/new" .; } 2>"$work/scratch/time" ||
    failed "building the wheel"
  read -r user system <"$work/scratch/time"
  wheel=$(basename "$work"/new/anact-*+torch"$series"-*.whl)
  [[ -f $work/new/$wheel ]] || fail "PyTorch $release: the wheel is not one for torch$series: $(ls "$work/new")"

  say "PyTorch $release: testing $wheel"
  # Elsewhere, so that no path to where it was built leads anywhere.
  mv "$work/builder" "$work/clean"
  logged "$work/clean/bin/python" "${pip[@]}" install "$work/new/$wheel" || failed "installing $wheel"
  logged env "TORCHINDUCTOR_CACHE_DIR=$work/scratch" \
    "$work/clean/bin/python" -I tests/package/wheel_smoke.py "$release" || failed "the test of $wheel"
  mv "$work/new/$wheel" "$output/$wheel"
  echo "$sources $wheel" >"$stamp"
  say "PyTorch $release: $output/$wheel, in $((SECONDS - start)) s; to build it took $((user + system)) s of processor time"
}

mkdir -p "$output/.built"
for release in "${releases[@]}"; do
  series=${release%.*}
  log=$work/torch-$release.log
  stamp=$output/.built/torch-$release
  read -r was wheel < <(cat "$stamp" 2>/dev/null || echo)
  if [[ -z $force && $was == "$sources" && -f $output/$wheel ]]; then
    say "PyTorch $release: $output/$wheel is there"
  else
    build_wheel
  fi
done
scripts/wheel_index.py "$output"
say "done: pip install --index-url file://$PWD/$output/simple anact"
