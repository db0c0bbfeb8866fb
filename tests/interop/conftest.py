"""js-libp2p for the interop tests: installed once, run as processes that speak JSON lines."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

JS = Path(__file__).parent / "js"
_INSTALL_SECONDS = 300


def _skip_or_fail(reason: str) -> None:
    if os.environ.get("COVEY_TEST_REQUIRE_INTEROP") == "1":
        pytest.fail(f"js-libp2p is required here, but {reason}")
    pytest.skip(f"needs js-libp2p, but {reason}")


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
            done = subprocess.run(
                [npm or "npm", "ci", "--no-progress", "--loglevel=error"],
                cwd=JS, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            _skip_or_fail(f"npm ci did not end within {_INSTALL_SECONDS} s")
        if done.returncode != 0 or not binary.exists():
            _skip_or_fail(f"npm ci failed: {done.stderr.strip()[-300:]}")
        stamp.write_bytes(wanted)
    return binary


class JsPeer:
    """A running script: one JSON object a line in and out."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""

    async def tell(self, **command: Any) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")

    async def hear(self, event: str) -> dict[str, Any]:
        """Return the next event of this kind; fails when the script tells of a failure or ends."""
        assert self._process.stdout is not None
        while True:
            while b"\n" not in self._text:
                more = await self._process.stdout.receive_some()
                assert more, f"the script ended before it told {event!r}"
                self._text += more
            line, _, self._text = self._text.partition(b"\n")
            found: dict[str, Any] = json.loads(line)
            assert found["event"] != "failed", found["error"]
            if found["event"] == event:
                return found


RunJs = Callable[[str], AbstractAsyncContextManager[JsPeer]]


@pytest.fixture
def run_js(node: Path) -> RunJs:
    """Run a script of tests/interop/js for the length of a block: `async with run_js("relay/peer.js") as peer`."""

    @asynccontextmanager
    async def run(script: str) -> AsyncIterator[JsPeer]:
        async with trio.open_nursery() as nursery:
            start = partial(trio.run_process, [str(node), script], cwd=JS, check=False)
            process: Any = await nursery.start(
                partial(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, capture_stdout=False)
            )
            try:
                yield JsPeer(process)
            finally:
                process.kill()

    return run
