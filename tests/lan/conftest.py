"""What the tests of this folder need of the machine; what is missing is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lan.home import Home
from tests.lan.namespaces import Namespaces


def _needs(*tools: str) -> None:
    """Skip, or fail where COVEY_TEST_REQUIRE_NAMESPACES=1 (as in CI), when namespaces or tools are missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    problem = f"{', '.join(missing)} is not installed" if missing else None
    if os.geteuid() != 0:
        problem = "only root makes network namespaces"
    elif problem is None:
        tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
        problem = tried.stderr.strip() if tried.returncode else None
    if problem is not None and os.environ.get("COVEY_TEST_REQUIRE_NAMESPACES") == "1":
        pytest.fail(f"network namespaces are required here, but {problem}", pytrace=False)
    if problem is not None:
        pytest.skip(problem)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose router runs no daemon yet."""
    _needs("ip", "nft", "miniupnpd")
    found = Home(tmp_path)
    try:
        found.up()
        yield found
    finally:
        found.down()


@pytest.fixture
def spaces() -> Iterator[Namespaces]:
    """No machines yet."""
    _needs("ip", "nft")
    found = Namespaces()
    try:
        yield found
    finally:
        found.remove()
