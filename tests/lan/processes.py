"""Scripts of this folder as processes in namespaces, that tell what they do as lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.support.namespaces import Namespaces

HERE = Path(__file__).parent
PATIENCE_SECONDS = 45


class Script:
    """A running script."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""
        self._closed = False

    async def tell(self, **command: Any) -> None:
        """Send a line of JSON."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")

    async def close(self) -> None:
        """End its standard input: it shall end."""
        assert self._process.stdin is not None
        self._closed = True
        await self._process.stdin.aclose()

    async def hear(self, event: str, **wanted: Any) -> dict[str, Any]:
        """Return the next event of a kind that has these values; fails when the script ends before, or takes long."""
        heard: list[dict[str, Any]] = []
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                found = await self._next(event, heard)
                heard.append(found)
                if found["event"] == event and all(found.get(key) == value for key, value in wanted.items()):
                    return found
        raise AssertionError(f"no {event!r} with {wanted}; heard {heard[-10:]}")

    async def _next(self, event: str, heard: list[dict[str, Any]]) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = b""
        while not line.startswith(b"{"):  # a line of the log
            while b"\n" not in self._text:
                more = await self._process.stdout.receive_some()
                assert more, f"the script ended before it told {event!r}; heard {heard[-10:]}"
                self._text += more
            line, _, self._text = self._text.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


@asynccontextmanager
async def running(spaces: Namespaces, machine: str, script: str, *words: str) -> AsyncIterator[Script]:
    """Run a script of this folder on a machine for the length of a block."""
    command = spaces.words(machine, sys.executable, str(HERE / script), *words)
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, command, check=False, cwd=HERE.parent.parent)
        process: Any = await nursery.start(
            partial(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, capture_stdout=False)
        )
        try:
            yield Script(process)
        finally:
            process.kill()
