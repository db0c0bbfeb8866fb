"""The limit of open files, each time in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from covey_core.limits import SPARE_DESCRIPTORS

PROGRAM = """
import json, resource, sys
from covey_core.descriptors import descriptors_in_use, provide_descriptors
from covey_core.logs import setup_logging
setup_logging(level="info", json=True)
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
before = descriptors_in_use()
provide_descriptors(connections)
print(json.dumps([*resource.getrlimit(resource.RLIMIT_NOFILE), before, descriptors_in_use()]))
"""

COMPONENT = """
import resource, sys
from {package}.__main__ import main
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
assert main(["run"]) != 0
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def provided(soft: int, hard: int, connections: int) -> tuple[int, int, float, float, str]:
    words = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(connections)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return (*json.loads(done.stdout), done.stderr)


def test_as_many_are_taken_as_the_connections_need() -> None:
    soft, hard, before, after, said = provided(64, 8192, 1000)
    assert (soft, hard, said) == (1000 + SPARE_DESCRIPTORS, 8192, "")
    assert 0 < after < before


def test_where_the_system_allows_fewer_all_of_them_are_taken_and_said() -> None:
    soft, hard, _, _, said = provided(64, 512, 1000)
    assert (soft, hard) == (512, 512)
    line = json.loads(said)
    assert line["event"] == "process.descriptors.short"
    assert (line["allowed"], line["needed"]) == (512, 1000 + SPARE_DESCRIPTORS)


@pytest.mark.parametrize("connections", [8, 1000])
def test_none_are_given_back(connections: int) -> None:
    assert provided(4096, 8192, connections)[0] == 4096


@pytest.mark.parametrize(
    ("package", "settings"),
    [
        ("covey_node", {"COVEY_HOME": "{}"}),
        ("covey_relay", {"COVEY_RELAY_IDENTITY_FILE": "{}/id", "COVEY_RELAY_NETWORK_FILE": "{}/none",
                         "COVEY_RELAY_NETWORK_WAIT_SECONDS": "0", "COVEY_RELAY_OPS_ADDR": "127.0.0.1:0"}),
        ("covey_bootstrap", {"COVEY_BOOTSTRAP_DATA_DIR": "{}", "COVEY_BOOTSTRAP_NETWORK_FILE": "{}"}),
    ],
)  # fmt: skip
def test_each_component_provides_them_before_it_finds_that_it_cannot_start(
    package: str, settings: dict[str, str], tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVEY_")}
    done = subprocess.run(
        [sys.executable, "-c", COMPONENT.format(package=package)],
        env={**kept, **{name: value.format(tmp_path) for name, value in settings.items()}},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    soft, hard = map(int, done.stdout.split())
    assert soft >= min(hard, 1000 + SPARE_DESCRIPTORS)
