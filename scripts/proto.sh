#!/bin/sh
# Regenerate *_pb2.py and *_pb2.pyi beside every .proto of the repository.
#
# PROTO_PYTHON names a Python that has grpcio-tools; without it a virtual environment is made under build/. Its version
# is pinned: grpcio-tools 1.76.0 generates for protobuf 6.31.1, the lowest version that pyproject.toml allows.
# `scripts/proto.sh --check` changes nothing and fails when a generated file is not up to date.
set -eu

cd "$(dirname "$0")/.."
tools="grpcio-tools==1.76.0"

python="${PROTO_PYTHON:-}"
if [ -z "$python" ]; then
    python="build/proto-venv/bin/python"
    if [ ! -x "$python" ] || ! "$python" -c "import grpc_tools" 2>/dev/null; then
        if command -v uv >/dev/null 2>&1; then
            uv venv --quiet --allow-existing build/proto-venv
            uv pip install --quiet --python "$python" "$tools" "protobuf>=6.31,<7" "setuptools<81"
        else
            python3 -m venv build/proto-venv
            "$python" -m pip install --quiet "$tools" "protobuf>=6.31,<7" "setuptools<81"
        fi
    fi
fi

out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT

stale=0
for root in core node relay bootstrap; do
    find "$root" -name '*.proto' -path '*/pb/*' | sort > "$out/list"
    [ -s "$out/list" ] || continue
    mkdir -p "$out/$root"
    # shellcheck disable=SC2046  # paths of this repository hold no spaces
    "$python" -m grpc_tools.protoc -I "$root" --python_out="$out/$root" --pyi_out="$out/$root" $(cat "$out/list")
    # protoc's stubs leave out what mypy's strict mode asks for.
    find "$out/$root" -name '*_pb2.pyi' -exec sed -i 's/_Mapping\]/_Mapping[str, object]]/g; s/\*\*kwargs)/**kwargs: object)/' {} +
    while read -r proto; do
        for generated in "${proto%.proto}_pb2.py" "${proto%.proto}_pb2.pyi"; do
            if [ "${1:-}" = "--check" ]; then
                if ! cmp -s "$out/$generated" "$generated"; then
                    echo "$generated is not what $proto says: run scripts/proto.sh" >&2
                    stale=1
                fi
            else
                cp "$out/$generated" "$generated"
            fi
        done
    done < "$out/list"
done
exit "$stale"
