"""Relays and people as processes of their own, forked from one that has imported everything, and killed with SIGKILL.

Owns: their start, their end, what they say. Never touches: when who is killed, what is right.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio

from benchmarks.processes import ready
from covey_core.identity import load_or_create_identity
from covey_core.lifecycle import run_component
from covey_core.logs import setup_logging
from covey_core.network import RelayEntry, new_network, save_network
from covey_relay import limits
from covey_relay.service.process import run_relay
from covey_relay.settings import RelaySettings

PATIENCE_SECONDS = 60
LOG_CHARS = 4000
EVERYBODY = 1_000_000
_fork = multiprocessing.get_context("fork")


class Failed(Exception):
    """Something did not start, or did not end."""


class Child:
    """A forked process that runs one function; its output goes to `log`."""

    def __init__(self, function: Callable[..., None], log: Path, *, speaks: bool = False) -> None:
        ours, theirs = _fork.Pipe(duplex=False)
        self._said: Connection = ours
        self.is_over = False
        """Whether it said all that it will."""
        self._process = _fork.Process(target=_run, args=(function, log, theirs if speaks else None), daemon=True)
        self._process.start()
        theirs.close()
        self.log = log

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs; negative for a signal."""
        return self._process.exitcode

    def hear(self, seconds: float) -> tuple[Any, ...]:
        """Wait so long for what it says next; nothing, and it may be over."""
        try:
            return tuple(self._said.recv()) if self._said.poll(seconds) else ()
        except (EOFError, OSError, pickle.UnpicklingError):  # killed, perhaps in the middle of a word
            self.is_over = True
            return ()

    def kill(self) -> None:
        """End it at once, as a power cut does; it is gone when this returns."""
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float) -> int:
        """Wait for its end; return the exit code."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()
            raise Failed(f"it did not end within {seconds} s: {self.words}")
        return self._process.exitcode

    @property
    def words(self) -> str:
        """What its log says last."""
        return self.log.read_text(errors="replace")[-LOG_CHARS:] if self.log.exists() else ""


def _run(function: Callable[..., None], log: Path, said: Connection | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends the others
    setup_logging(level="warning", json=True)
    function(*([partial(_say, said)] if said is not None else []))


def _say(said: Connection, *words: object) -> None:
    said.send(words)


class Relays:
    """Relays on fixed ports with stores of their own; one that was killed starts with the disk that it had."""

    def __init__(self, folder: Path, ports: dict[str, tuple[int, int]]) -> None:
        """`ports`: of each operator, where the relay listens, and its operations port."""
        self.network = folder / "network.json"
        self._folder = folder
        self._ports = ports
        self._running: dict[str, Child] = {}
        entries = []
        for name, (port, _) in ports.items():
            (folder / name).mkdir()
            identity = load_or_create_identity(folder / name / "identity")
            entries.append(RelayEntry(name, (f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity.peer_id}",)))
        network = replace(new_network("soak", private=True, subnets=("127.0.0.0/8",)), relays=tuple(entries))
        save_network(self.network, network)

    @property
    def living(self) -> list[str]:
        """Who runs."""
        return list(self._running)

    def start(self, name: str) -> None:
        """Start one; it is ready a second later."""
        port, ops = self._ports[name]
        settings = RelaySettings(
            data_dir=self._folder / name,
            network_file=self.network,
            listen=(f"/ip4/127.0.0.1/tcp/{port}",),
            ops_addr=f"127.0.0.1:{ops}",
            operator=name,
            max_connections_per_ip=1000,
        )
        self._running[name] = Child(partial(_relay, settings), self._folder / f"{name}.log")

    def await_ready(self) -> None:
        """Wait until all serve."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(ready(self._ports[name][1]) for name in self._running):
            self.look()
            if time.monotonic() > deadline:
                raise Failed("the relays did not become ready")
            time.sleep(0.05)

    def look(self) -> None:
        """Raise `Failed` when one ended by itself."""
        for name, child in self._running.items():
            if child.code is not None:
                raise Failed(f"relay {name} ended by itself with code {child.code}: {child.words}")

    def kill(self, name: str) -> None:
        """Kill one."""
        self._running.pop(name).kill()

    def end(self) -> None:
        """Kill all."""
        for name in self.living:
            self.kill(name)


def _relay(settings: RelaySettings) -> None:
    # Both people are one address here, and write in a minute what people write in months.
    limits.MAILBOX_FORWARD_RATE = EVERYBODY
    limits.MAILBOX_FORWARD_BURST = EVERYBODY
    sys.exit(run_component(partial(run_relay, settings)))


def run_async(function: Callable[..., object]) -> Callable[..., None]:
    """Return a function that runs an async one, for `Child`."""

    def run(*arguments: object) -> None:
        trio.run(partial(function, *arguments))  # type: ignore[arg-type]

    return run
