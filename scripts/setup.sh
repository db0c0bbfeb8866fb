#!/usr/bin/env bash
# Makes .venv ready for work: a Python of 3.11 to 3.13, every dependency from the hashed lock, Covey itself (editable).
#
# Run by `make`; safe to run again and again: what is done already takes a tenth of a second.
# Settings (environment): PYTHON=path of the interpreter to use, VENV=folder (default .venv).
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
LOG=build/setup.log
DONE=$VENV/.covey-setup

say() { printf '==> %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# What was installed, as one number: the same number means that there is nothing to do.
wanted() { cat requirements/build.txt requirements/dev.txt pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1; }

if [ -x "$VENV/bin/python" ] && [ "$(cat "$DONE" 2>/dev/null || true)" = "$(wanted)" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
mkdir -p build

# --- 1. an interpreter ---------------------------------------------------------------------------
fits() { "$1" -c 'import ctypes, ssl, sqlite3, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

find_python() {
  local candidate outside
  outside=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$(realpath -m "$VENV")/bin" | paste -sd ':')
  local PATH=$outside # make puts the environment first; a new one is not made from itself
  if [ -n "${PYTHON:-}" ]; then
    fits "$PYTHON" && command -v "$PYTHON" && return
    die "PYTHON=$PYTHON is not a complete Python of 3.11 to 3.13"
  fi
  for candidate in python3.13 python3.12 python3.11 python3; do
    if fits "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[123].*/bin/python3; do
    if fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# --- 2. system packages --------------------------------------------------------------------------
# fastecdsa, a dependency of libp2p, has no wheel: it needs a C compiler and the headers of Python and GMP.
missing_packages() { # PYTHON -> Debian package names, one a line
  local python=$1 include
  command -v cc >/dev/null || printf 'gcc\nlibc6-dev\n'
  include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -e "$include/Python.h" ] || echo "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-dev"
  [ -e /usr/include/gmp.h ] || [ -n "$(find /usr/include /usr/local/include -maxdepth 2 -name gmp.h -print -quit 2>/dev/null)" ] \
    || echo libgmp-dev
  "$python" -c 'import ensurepip' 2>/dev/null || echo "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
}

install_packages() { # NAME...
  local root=()
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      die "system packages are missing, and this user may not install them. Run this once, then make again:
    sudo apt-get install -y --no-install-recommends $*"
    fi
    root=(sudo -n env)
  fi
  command -v apt-get >/dev/null || die "please install what this system calls: $*"
  say "installing system packages: $*"
  export DEBIAN_FRONTEND=noninteractive
  if ! { "${root[@]}" apt-get install -y -qq --no-install-recommends "$@" \
    || { "${root[@]}" apt-get update -qq && "${root[@]}" apt-get install -y -qq --no-install-recommends "$@"; }; } >>"$LOG" 2>&1; then
    tail -n 20 "$LOG" >&2
    die "apt-get could not install: $* (the whole log is in $LOG)"
  fi
}

: >"$LOG"
if ! python=$(find_python); then
  install_packages python3 python3-venv python3-dev
  python=$(find_python) || die "no Python of 3.11 to 3.13 was found. Install one and name it: make PYTHON=/path/to/python3 ..."
fi
say "Python: $("$python" --version) ($python)"
mapfile -t packages < <(missing_packages "$python")
[ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"

# --- 3. the virtual environment ------------------------------------------------------------------
if ! [ -x "$VENV/bin/python" ] || ! fits "$VENV/bin/python"; then
  say "creating $VENV"
  rm -rf "$VENV"
  "$python" -m venv "$VENV" >>"$LOG" 2>&1 || die "python -m venv failed, see $LOG"
fi
rm -f "$DONE"

install() {
  if ! "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --no-build-isolation "$@" >>"$LOG" 2>&1; then
    tail -n 20 "$LOG" >&2
    die "pip install failed (the whole log is in $LOG)"
  fi
}

say "installing $(grep -c '==' requirements/dev.txt) dependencies, hashes checked (a minute at the first time)"
install --require-hashes --requirement requirements/build.txt
install --require-hashes --requirement requirements/dev.txt
say "installing covey itself (editable)"
install --no-deps --editable .
wanted >"$DONE"
say "$VENV is ready"
