#!/usr/bin/env bash
# Builds the three images from deploy/Dockerfile and prints their sizes. TAG=local by default.
#
# CA_BUNDLE (default: PIP_CERT) names a file of certificates that pip needs inside the build where the network replaces certificates;
# it is mounted for the time of the build and stays in no layer.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${TAG:-local}
for role in node relay bootstrap; do
  docker build --quiet --file deploy/Dockerfile --target "$role" --tag "covey-$role:$tag" \
    --secret "id=ca_bundle,src=${CA_BUNDLE:-${PIP_CERT:-/dev/null}}" \
    --build-arg "REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" . >/dev/null
  docker image inspect --format "covey-$role:$tag {{.Size}}" "covey-$role:$tag" \
    | awk '{printf "%-28s %6.1f MB\n", $1, $2 / 1e6}'
done
