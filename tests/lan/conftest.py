"""What the tests of this folder need of the machine; what is missing is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lan.home import Home
from tests.support.namespaces import Namespaces, why_not


def _needs(*tools: str) -> None:
    """Skip, or fail where COVEY_TEST_REQUIRE_NAMESPACES=1 (as in CI), when namespaces or tools are missing."""
    problem = why_not(*tools)
    if problem is not None and os.environ.get("COVEY_TEST_REQUIRE_NAMESPACES") == "1":
        pytest.fail(f"network namespaces are required here, but {problem}", pytrace=False)
    if problem is not None:
        pytest.skip(problem)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose router runs no daemon yet."""
    _needs("miniupnpd")
    found = Home(tmp_path)
    try:
        found.up()
        yield found
    finally:
        found.down()


@pytest.fixture
def spaces() -> Iterator[Namespaces]:
    """No machines yet."""
    _needs()
    found = Namespaces()
    try:
        yield found
    finally:
        found.remove()
