"""A served API over a fake node, in a thread of its own, and a small client."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from covey_node.api import serve_api
from tests.node.api.fake_port import FakePort

Value = TypeVar("Value")
DEADLINE_SECONDS = 20


class Served:
    """Where the API listens, and a way into its event loop."""

    def __init__(self, port: FakePort, home: Path) -> None:
        self.port = port
        self.home = home
        self.address = ""
        self.error: BaseException | None = None
        self.token: trio.lowlevel.TrioToken | None = None
        self.shutdown = trio.Event()
        self.started = threading.Event()
        self.stopped = threading.Event()

    def within(self, action: Callable[[], Value]) -> Value:
        """Run something between the node's steps."""
        return trio.from_thread.run_sync(action, trio_token=self.token)

    @property
    def bearer(self) -> str:
        return (self.home / "api.token").read_text().strip()

    def connect(self) -> http.client.HTTPConnection:
        if self.address.startswith("unix:"):
            connection = http.client.HTTPConnection("localhost", timeout=DEADLINE_SECONDS)
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(DEADLINE_SECONDS)
            connection.sock.connect(self.address.removeprefix("unix:"))
            return connection
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=DEADLINE_SECONDS)

    def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send one request with the token; return status and decoded body (None when empty)."""
        connection = self.connect()
        try:
            data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            sent = {"authorization": f"Bearer {self.bearer}", "content-type": "application/json", **(headers or {})}
            connection.request(method, path, data, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()


@contextmanager
def serving(home: Path, *, address: str = "127.0.0.1:0") -> Iterator[Served]:
    """Serve a fake node until the block ends; the thread is joined."""
    served = Served(FakePort(), home)

    async def main() -> None:
        served.token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            served.address = await nursery.start(
                lambda task_status: serve_api(
                    served.port,
                    address=address,
                    token_file=home / "api.token",
                    home=home,
                    shutdown=served.shutdown,
                    task_status=task_status,
                )
            )
            served.started.set()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as exc:  # noqa: BLE001 - the test's thread raises it
            served.error = exc
        finally:
            served.stopped.set()
            served.started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert served.started.wait(DEADLINE_SECONDS)
        if served.error is not None:
            raise served.error
        yield served
    finally:
        with contextlib.suppress(trio.RunFinishedError):
            served.within(served.shutdown.set)
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
    if served.error is not None:
        raise served.error
