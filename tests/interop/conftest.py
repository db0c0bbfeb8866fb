"""js-libp2p and go-libp2p for the interop tests: installed or built once, run as processes that speak JSON lines."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio

from tests.nat.lab.topology import Lab, LabUnavailable, lab

JS = Path(__file__).parent / "js"
GO = Path(__file__).parent / "go"
GO_PEER = Path(__file__).resolve().parents[2] / "build" / "interop" / "peer"
_INSTALL_SECONDS = 300
_BUILD_SECONDS = 900  # from nothing: go-libp2p's modules are fetched and compiled


def _skip_or_fail(reason: str, *, what: str = "js-libp2p", variable: str = "COVEY_TEST_REQUIRE_INTEROP") -> NoReturn:
    if os.environ.get(variable) == "1":
        pytest.fail(f"{what} is required here, but {reason}")
    pytest.skip(f"needs {what}, but {reason}")


@pytest.fixture(scope="session")
def node() -> Path:
    """The path of Node 22 or newer, with the packages of package.json installed beside it."""
    wanted = (JS / "package-lock.json").read_bytes()
    stamp = JS / "node_modules" / ".covey-installed"
    binary = JS / "node_modules" / ".bin" / "node"
    if not (stamp.exists() and stamp.read_bytes() == wanted and binary.exists()):
        npm = shutil.which("npm")
        if npm is None:
            _skip_or_fail("npm is not installed")
        try:
            # Not `npm ci`: of packages that are optional by platform it wants download addresses in the lock file.
            done = subprocess.run(
                [npm or "npm", "install", "--no-save", "--no-progress", "--loglevel=error"],
                cwd=JS, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            _skip_or_fail(f"npm install did not end within {_INSTALL_SECONDS} s")
        if done.returncode != 0 or not binary.exists():
            _skip_or_fail(f"npm install failed: {done.stderr.strip()[-300:]}")
        stamp.write_bytes(wanted)
    return binary


@pytest.fixture(scope="session")
def go_peer() -> Path:
    """The go-libp2p peer of tests/interop/go, built when its sources are newer than the program."""
    skip = partial(_skip_or_fail, what="go-libp2p", variable="COVEY_TEST_REQUIRE_GO")
    go = shutil.which("go")
    if go is None:
        skip("go is not installed")
    try:
        done = subprocess.run(
            [go, "build", "-o", str(GO_PEER), "."],
            cwd=GO, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        skip(f"go build did not end within {_BUILD_SECONDS} s")
    if done.returncode != 0:
        skip(f"go build failed: {done.stderr.strip()[-300:]}")
    return GO_PEER


@pytest.fixture(scope="session")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The namespace lab with two home routers; skips where namespaces cannot be made."""
    try:
        with lab(tmp_path_factory.mktemp("lab")) as one:
            yield one
    except LabUnavailable as exc:
        _skip_or_fail(str(exc), what="network namespaces", variable="COVEY_TEST_REQUIRE_ENGINE")


class ForeignPeer:
    """A running foreign peer: one JSON object a line in and out."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""
        self.told: dict[str, Any] = {}
        """What it said when it was ready, where the test keeps that."""

    async def tell(self, **command: Any) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")

    async def hear(self, event: str) -> dict[str, Any]:
        """Return the next event of this kind; fails when the peer tells of a failure or ends."""
        assert self._process.stdout is not None
        while True:
            while b"\n" not in self._text:
                more = await self._process.stdout.receive_some()
                assert more, f"the peer ended before it told {event!r}"
                self._text += more
            line, _, self._text = self._text.partition(b"\n")
            found: dict[str, Any] = json.loads(line)
            assert found["event"] != "failed", found["error"]
            if found["event"] == event:
                return found


RunJs = Callable[[str], AbstractAsyncContextManager[ForeignPeer]]


@pytest.fixture
def run_js(node: Path) -> RunJs:
    """Run a script of tests/interop/js for the length of a block: `async with run_js("relay/peer.js") as peer`."""

    return lambda script: running_peer([str(node), script], cwd=JS)


@asynccontextmanager
async def running_peer(command: Sequence[str], *, cwd: Path | None = None) -> AsyncIterator[ForeignPeer]:
    """Run a foreign peer for the length of the block."""
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, list(command), cwd=cwd, check=False)
        process: Any = await nursery.start(
            partial(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, capture_stdout=False)
        )
        try:
            yield ForeignPeer(process)
        finally:
            process.kill()
