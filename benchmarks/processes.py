"""Other processes that a benchmark runs: Covey's commands, and people driven by JSON lines.

Owns: starting, waiting until ready, asking, stopping. Never touches: what is measured.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT

BIN = Path(sys.executable).parent
READY_SECONDS = 60
STOP_SECONDS = 10


class Failed(Exception):
    """A process did not do what it was asked; the text says what it said last."""


def clean_environment(**settings: object) -> dict[str, str]:
    """Return this environment without settings of Covey, and with these."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COVEY_")}
    return kept | {key: str(value) for key, value in settings.items()}


def free_port() -> int:
    """Return a port of the loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(words: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block; its output goes to `log`."""
    with log.open("wb") as output, subprocess.Popen(
        words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            stop(process)


@contextmanager
def component(
    role: str, folder: Path, settings: Mapping[str, object], *, ops: int
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run covey-ROLE with these settings; yields the process and the seconds until it was ready."""
    names = {
        f"COVEY_{role.upper()}_{key}": value for key, value in {**settings, "OPS_ADDR": f"127.0.0.1:{ops}"}.items()
    }
    started = time.monotonic()
    log = folder / f"{role}.log"
    with running([str(BIN / f"covey-{role}"), "run"], clean_environment(**names), log) as process:
        while not ready(ops):
            if process.poll() is not None or time.monotonic() > started + READY_SECONDS:
                raise Failed(f"covey-{role} did not become ready: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.01)
        yield process, time.monotonic() - started


def ready(port: int) -> bool:
    """Tell whether the component with this operations port is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} is gone")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, both modes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Worker:
    """A Python module of this package that answers one JSON line with another."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, do: str, **arguments: object) -> None:
        """Ask for something without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Return the answer to the oldest question."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": self._log.read_text(errors="replace")[-2000:]}
        if isinstance(answer, dict) and "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def ask(self, do: str, **arguments: object) -> Any:
        """Ask and wait for the answer."""
        self.tell(do, **arguments)
        return self.hear()


@contextmanager
def worker(module: str, *words: str, log: Path) -> Iterator[Worker]:
    """Run `python -m benchmarks.MODULE WORDS` for the length of the block."""
    with log.open("wb") as output, subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        cwd=ROOT, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
    ) as process:  # fmt: skip
        try:
            yield Worker(process, log)
        finally:
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()  # its end is the word to stop
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
