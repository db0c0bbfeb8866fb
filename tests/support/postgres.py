"""A PostgreSQL server of a test's own: made in a temporary folder, reached over a Unix socket, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

REQUIRED = os.environ.get("COVEY_TEST_REQUIRE_POSTGRES") == "1"
NOBODY = "nobody"
"""PostgreSQL does not run as root; tests that do start it as this user."""


def program(name: str) -> str | None:
    """Return where a program of the server lies; Debian keeps them out of PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(newest[-1]) if newest else shutil.which(name)


def require() -> None:
    """Skip the test that asks, with the reason, where no server can be started."""
    if program("postgres") is None or program("initdb") is None:
        message = "PostgreSQL's server is not installed (Debian: postgresql)"
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)


class Server:
    """A server; `url` opens its database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"postgresql://covey@/postgres?host={folder}"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = NOBODY if os.getuid() == 0 else None
        if self._user is not None:
            nobody = pwd.getpwnam(self._user)
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "--username=covey", "--auth=trust", "--no-instructions", "--encoding=UTF8", "--locale=C")

    def _arguments(self, name: str, *arguments: str) -> list[str]:
        found = program(name)
        assert found is not None
        return [found, "-D", str(self.folder / "data"), *arguments]

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            self._arguments(name, *arguments),
            cwd=self.folder, user=self._user, extra_groups=[] if self._user else None, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = (
            "listen_addresses=", f"unix_socket_directories={self.folder}", "shared_buffers=64MB", "max_connections=40",
            "deadlock_timeout=200ms", "log_min_messages=warning",
        )  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments("postgres", *(part for one in settings for part in ("-c", one))),
                cwd=self.folder, user=self._user, extra_groups=[] if self._user else None, stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(1000):
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.03)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """End the server as a power failure would, but for the disk; all its processes are gone afterwards."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End the server and its clients' connections."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def forget(self) -> None:
        """Drop what a former test has left; start the server if that test has ended it."""
        if self._process is None:
            self.start()
        with psycopg.connect(self.url, autocommit=True) as raw:
            raw.execute("SET client_min_messages TO error")
            raw.execute("DROP SCHEMA IF EXISTS covey_mailbox CASCADE")


@contextmanager
def running(where: Path | None = None) -> Iterator[Server]:
    """A running server: on the disk of that folder, or in memory where the machine has such a folder."""
    require()
    memory = Path("/dev/shm")
    where = where or (memory if memory.is_dir() and os.access(memory, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="covey-pg-", dir=where, ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
