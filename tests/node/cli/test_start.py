"""The command starts in a blink: what it imports is asserted, not how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.api.serving import Served, serving
from tests.node.cli.conftest import environment

HEAVY = {
    *("trio", "libp2p", "pydantic", "pydantic_settings", "fastapi", "starlette", "hypercorn", "anyio", "structlog"),
    *("cryptography", "nacl", "sqlcipher3", "google.protobuf", "segno", "httpx", "importlib.metadata", "asyncio"),
}
PROGRAM = """
import contextlib, io, json, sys
from covey_node.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Served:  # type: ignore[misc]
    with serving(tmp_path_factory.mktemp("start"), address="unix") as served:
        yield served


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "contacts",
        "contacts --json",
        "status",
        "send bob hi",
        "history bob",
        "chat bob",
        "invite",
        "ping bob",
        "doctor",
    ],
)
def test_a_command_imports_the_standard_library_only(talking: Served, words: str) -> None:
    arguments = words.split() + (["--count", "1"] if words.startswith("ping") else [])
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment(talking.home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(ran.stdout))
    assert not HEAVY & loaded
    assert {name for name in loaded if name.startswith("covey_")} <= {
        "covey_node",
        "covey_node.home",
        "covey_node.cli",
        *(f"covey_node.cli.{path.stem}" for path in Path(__file__).parents[3].glob("node/covey_node/cli/*.py")),
    }


def test_only_what_the_help_needs_is_imported_for_it() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert not {"http.client", "ssl", "socket"} & set(json.loads(ran.stdout))
