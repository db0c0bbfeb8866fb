"""A served fake node and the `covey` command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.api.serving import DEADLINE_SECONDS, Served, serving

Covey = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return a clean environment: only this home, UTC, no terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVEY_", "XDG_"))}
    return {**kept, "COVEY_HOME": str(home), "TZ": "UTC", "PYTHONUTF8": "1", "TERM": "xterm", **more}


def run_covey(home: Path, *words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "covey_node.cli.main", *words],
        env=environment(home, **more),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "home", address="unix") as one:
        yield one


@pytest.fixture
def covey(served: Served) -> Covey:
    """Run `covey` against the served node."""

    def run(*words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return run_covey(served.home, *words, stdin=stdin, **more)

    return run
