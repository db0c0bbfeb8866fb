"""What a node says about itself while a test runs: every status, with its time.

Owns: the process in the node's container (inside.py) and what it told, which drives all waiting; nothing sleeps.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_PROGRAM = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """A node's status from `at` (CLOCK_MONOTONIC) until the next one; None while no node answers."""

    at: float
    status: Status | None


class Watcher:
    """Follows one node for the length of a `with` block."""

    def __init__(self, name: str, container: str) -> None:
        self.name = name
        self.seen: list[Seen] = []
        self._container = container
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        words = ["docker", "exec", "--interactive", self._container, "python3", "-c", _PROGRAM]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # its end is the word to stop; a stopped container has ended it already
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self, good: Callable[[Status], bool], what: str, *, seconds: float) -> Seen:
        """Return the first status from now on, the present one included, that is `good`; fail after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._news:
            at = max(len(self.seen) - 1, 0)
            while True:
                for one in self.seen[at:]:
                    if one.status is not None and good(one.status):
                        return one
                at = len(self.seen)
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    last = json.dumps(self.seen[-1].status if self.seen else None, indent=1)
                    raise AssertionError(f"{self.name}: not within {seconds:.0f} s: {what}; its last status: {last}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._news:
                self.seen.append(Seen(told["at"], told["status"]))
                self._news.notify_all()


def path_of(status: Status) -> tuple[str, str]:
    """Return kind and address of the path to the one contact."""
    (path,) = status["contacts"]
    return path["path"], path["address"] or ""


def slots_of(status: Status) -> set[str]:
    """Return the operators of the relays that hold a slot for the node."""
    return {relay["operator"] for relay in status["relays"] if relay["connected"] and relay["reserved_until"]}


def transport_of(address: str) -> str:
    """Return `tcp`, `quic` or `ws` for a multiaddr."""
    return "quic" if "/quic" in address else "ws" if "/ws" in address else "tcp"
