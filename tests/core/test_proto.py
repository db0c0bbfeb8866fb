import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = sorted(path for part in ("core", "node", "relay", "bootstrap") for path in (ROOT / part).glob("**/pb/*.proto"))


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_every_definition_has_its_generated_code_beside_it(proto):
    for ending in ("_pb2.py", "_pb2.pyi"):
        assert proto.with_name(proto.stem + ending).exists(), "run scripts/proto.sh"
    generated = proto.with_name(proto.stem + "_pb2.py").read_text()
    assert "# Protobuf Python Version: 6.31.1\n" in generated, "made by another generator than scripts/proto.sh pins"
    assert f"# source: {proto.relative_to(ROOT).as_posix().partition('/')[2]}" in generated


def test_the_generated_code_is_what_the_definitions_say():
    python = os.environ.get("PROTO_PYTHON")
    if python is None:
        if importlib.util.find_spec("grpc_tools") is None:
            pytest.skip("grpcio-tools is not installed (PROTO_PYTHON names a Python that has it)")
        python = "python"
    outcome = subprocess.run(
        [ROOT / "scripts/proto.sh", "--check"],
        env={**os.environ, "PROTO_PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_protobuf_stays_inside_the_codec_beside_it(proto):
    room = proto.parent.parent
    module = proto.stem + "_pb2"
    for path in ROOT.glob("*/covey_*/**/*.py"):
        if module in path.read_text() and path.parent != proto.parent:
            assert path.is_relative_to(room), f"{path} imports {module}"
