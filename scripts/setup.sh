#!/usr/bin/env bash
# Installs what is missing to build, run and test ANAct: the system packages of packages.txt, a virtual environment in
# .venv with LibTorch and the tools of requirements.txt, and the handwritten digits in data/.
#
# Run again, it checks and does only what is missing. Environment variables:
#   TORCH_PYTHON, Torch_DIR  use this PyTorch or LibTorch and install none (see cmake/AnactTorch.cmake)
#   PYTHON                   the Python, 3.11 or newer, to make .venv with (python3)
#   ANACT_PIP_ARGS           further arguments for pip when it installs torch, such as another index to take a wheel from
#   ANACT_SKIP_PACKAGES=1    do not look at the system packages
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
venv=.venv
done_file=$venv/anact-setup-done
digits=data/digits.csv.gz
digits_sha256=09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22

say() { echo "setup: $*"; }
fail() {
  echo "setup: error: $*" >&2
  exit 1
}

# --- System packages --------------------------------------------------------------------------------------------------

has_package() { # PACKAGE KIND:NAME
  local name=${2#*:}
  if dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; then
    return 0
  fi
  case $2 in
    program:*) command -v "$name" ;;
    header:*) echo "#include <$name>" | g++ -E -x c++ - ;;
    module:*) "$python" -c "import $name" ;;
    *) false ;;
  esac >/dev/null 2>&1
}

install_packages() {
  local package probe
  local missing=() probes=() as_root=()
  while read -r package probe; do
    if ! has_package "$package" "$probe"; then
      missing+=("$package")
      probes+=("$probe")
    fi
  done < <(grep -v '^#' packages.txt)
  if ((${#missing[@]} == 0)); then
    return
  fi

  if ! command -v apt-get >/dev/null; then
    fail "this is not a Debian system, and these are missing: ${probes[*]}
Install them with your system's package manager (Debian calls their packages ${missing[*]}) and run this again."
  fi
  if ((EUID != 0)); then
    # sudo may ask for the password only where someone can type it.
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      as_root=(sudo)
    else
      fail "system packages are missing, and installing them needs root. Ask for this to be run, then run this again:
  sudo apt-get install -y ${missing[*]}"
    fi
  fi
  say "installing system packages with apt-get: ${missing[*]}"
  # Standard input is closed so that no package can stop to ask.
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null
}

# --- Python environment -----------------------------------------------------------------------------------------------

check_python() {
  command -v "$python" >/dev/null || fail "there is no '$python'; name a Python 3.11 or newer with PYTHON=/path/to/python"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$python' is $("$python" --version 2>&1), but 3.11 or newer is needed; name one with PYTHON=/path/to/python"
}

# The pinned requirement of one package.
pinned() { grep "^$1==" requirements.txt; }

pip_install() {
  local quiet=(--quiet)
  if [[ -t 1 ]]; then
    quiet=() # the progress bar
  fi
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "${quiet[@]}" "$@"
}

install_python() {
  local arguments=()
  # An environment whose set-up was interrupted may hold half of a package that pip takes for whole.
  if [[ -e $venv/anact-setup-running ]] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making the virtual environment $venv"
    "$python" -m venv --clear "$venv"
  fi
  rm -f "$done_file"
  touch "$venv/anact-setup-running"
  if [[ -z $torch_choice ]]; then
    say "installing $(pinned torch) into $venv for its LibTorch: 0.2 GB, or some GB where pip's index has the CUDA build"
    say "  (to choose: ANACT_PIP_ARGS for pip; TORCH_PYTHON or Torch_DIR to use one that you have)"
    read -r -a arguments <<<"${ANACT_PIP_ARGS:-}"
    pip_install "${arguments[@]}" "$(pinned torch)"
  else
    say "using the LibTorch of $torch_choice"
  fi
  say "installing $(pinned numpy), $(pinned ruff), $(pinned scikit-learn) (its digits) and what the tests need into $venv"
  pip_install "$(pinned numpy)" "$(pinned ruff)" "$(pinned pytest)" "$(pinned pillow)" "$(pinned safetensors)" \
    "$(pinned tensorboard)"
  # Their dependencies are large, and what is used of them needs none.
  pip_install --no-deps "$(pinned scikit-learn)" "$(pinned torchvision)"
  if [[ -z $torch_choice ]]; then
    say "installing what the Python package is tested with into $venv: 0.2 GB"
    pip_install --requirement requirements-tests.txt
  fi
  rm "$venv/anact-setup-running"
}

# --- Data -------------------------------------------------------------------------------------------------------------

has_digits() { echo "$digits_sha256  $1" | sha256sum --check --status 2>/dev/null; }

copy_digits() {
  local source
  source=$(echo "$venv"/lib/python3*/site-packages/sklearn/datasets/data/digits.csv.gz)
  say "copying the handwritten digits to $digits"
  has_digits "$source" || fail "'$source' is not the file that $(pinned scikit-learn) holds; remove $venv and run this again"
  mkdir -p data
  cp "$source" "$digits.part"
  mv "$digits.part" "$digits"
}

# ----------------------------------------------------------------------------------------------------------------------

# A LibTorch that the user names now, or named when build/ was configured.
if [[ -n ${Torch_DIR:-} ]]; then
  torch_choice=Torch_DIR=$Torch_DIR
elif [[ -n ${TORCH_PYTHON:-} ]]; then
  torch_choice=TORCH_PYTHON=$TORCH_PYTHON
else
  torch_choice=$(sed -n 's/^ANACT_TORCH_CHOICE:INTERNAL=//p' build/CMakeCache.txt 2>/dev/null || true)
fi

if [[ ${ANACT_SKIP_PACKAGES:-} != 1 ]]; then
  install_packages
fi

# What .venv must have been made from; whoever asks for torch in it is told apart from whoever does not.
wanted="$(sha256sum requirements.txt requirements-tests.txt) torch:${torch_choice:+elsewhere}"
if [[ ! -x $venv/bin/python || $(cat "$done_file" 2>/dev/null) != "$wanted" ]]; then
  check_python
  install_python
  has_digits "$digits" || copy_digits
  echo "$wanted" >"$done_file"
elif ! has_digits "$digits"; then
  copy_digits
else
  say "everything is in place"
  exit
fi
say "done"
