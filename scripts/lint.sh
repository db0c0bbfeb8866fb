#!/usr/bin/env bash
# Everything that reads the tree without running it. Each check says its name; all run, then the first failure counts.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
failed=0

check() { # NAME COMMAND...
  local name=$1
  shift
  printf '==> %s\n' "$name"
  "$@" || {
    printf 'lint: %s found something\n' "$name" >&2
    failed=1
  }
}

mapfile -t shell_files < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
check "ruff" "$bin/ruff" check --quiet
check "ruff format" "$bin/ruff" format --check --quiet
check "mypy --strict" "$bin/mypy" --no-error-summary
[ ${#shell_files[@]} -eq 0 ] || check "shellcheck" "$bin/shellcheck" "${shell_files[@]}"
check "hadolint" "$bin/hadolint" --config .hadolint.yaml deploy/Dockerfile deploy/nat/Dockerfile deploy/postgres/Dockerfile
check "yamllint" "$bin/yamllint" --strict --config-data '{extends: default, rules: {line-length: {max: 160}, document-start: disable, comments: {min-spaces-from-content: 1}}}' \
  docker-compose.yml deploy/postgres/compose.yml tests/nat/compose.yml .hadolint.yaml
exit "$failed"
