#!/usr/bin/env bash
# Writes requirements/*.txt anew: exact versions with hashes for Python 3.11 to 3.13, without index addresses.
# `scripts/lock.sh` keeps the versions that are locked already where pyproject.toml allows it; `--upgrade` takes newer ones.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
command -v "$uv" >/dev/null || uv=uv

compile() { # OUTPUT ARGUMENT...
  local out=requirements/$1
  shift
  printf '==> %s\n' "$out"
  "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
    --custom-compile-command "make lock" --output-file "$out" "$@"
}

compile build.txt "$@" requirements/build.in
compile dev.txt "$@" --constraint requirements/build.txt --extra node --extra relay --extra bootstrap --group dev pyproject.toml
# What is shipped is what was tested: the images' locks are subsets of the developer's.
for role in node relay bootstrap; do
  compile "$role.txt" "$@" --constraint requirements/dev.txt --extra "$role" pyproject.toml
done
