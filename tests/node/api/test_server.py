"""The serving itself: clients that hang, too many clients, a stop that ends."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from covey_node.api.limits import WRITE_SECONDS
from covey_node.api.server import BoundedStream
from tests.node.api.serving import DEADLINE_SECONDS, Served, serving


class Blocked:
    """A stream whose other side takes nothing."""

    def __init__(self) -> None:
        self.socket = None
        self.closed = False

    async def send_all(self, _data: bytes) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_a_write_that_nobody_takes_breaks_its_stream_even_when_it_is_shielded(autojump_clock: MockClock) -> None:
    """Hypercorn 0.18 shields its writes; when it no longer does, plain `hypercorn.trio.serve` would do."""
    stream = Blocked()
    with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
        await BoundedStream(stream).send_all(b"x")  # type: ignore[arg-type]
    assert trio.current_time() == pytest.approx(WRITE_SECONDS, abs=0.1)
    assert stream.closed


def test_a_client_that_never_reads_does_not_hold_up_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey_node.api.server.WRITE_SECONDS", 0.3)
    with serving(tmp_path) as served:
        host, _, port = served.address.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as hung:
            hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.bearer}\r\n\r\n"
            hung.sendall(head.encode())
            assert hung.recv(9) == b"HTTP/1.1 "
            trio.from_thread.run(served.port.until_subscribers, 1, trio_token=served.token)
            served.within(lambda: [served.port.emit("node", {"filler": "x" * 60_000}) for _ in range(200)])
            served.within(served.shutdown.set)
            served.stopped.wait(DEADLINE_SECONDS)
            assert served.stopped.is_set()


def test_idle_connections_do_not_hold_up_the_stop(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey_node.api.server.GRACE_SECONDS", 1000)
    connection = served.connect()
    connection.request("GET", "/v1/status", headers={"authorization": f"Bearer {served.bearer}"})
    assert connection.getresponse().read()
    served.within(served.shutdown.set)
    assert served.stopped.wait(DEADLINE_SECONDS)
    connection.close()


def test_a_request_that_waits_is_answered_when_the_node_stops(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey_node.api.server.GRACE_SECONDS", 1000)
    served.port.delivers = None
    connection = served.connect()
    headers = {"authorization": f"Bearer {served.bearer}", "content-type": "application/json"}
    connection.request("POST", "/v1/contacts/bob/messages", b'{"text": "hello"}', headers)
    message = json.loads(connection.getresponse().read())["id"]
    connection.request("GET", f"/v1/messages/{message}?wait_seconds=300", headers=headers)
    trio.from_thread.run(served.port.until_subscribers, 1, trio_token=served.token)
    served.within(served.shutdown.set)
    assert json.loads(connection.getresponse().read())["status"] == "queued"
    connection.close()
    assert served.stopped.wait(DEADLINE_SECONDS)


def test_one_connection_serves_many_requests(served: Served) -> None:
    connection = served.connect()
    for _ in range(20):
        connection.request("GET", "/v1/status", headers={"authorization": f"Bearer {served.bearer}"})
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.close()


def test_a_connection_ends_with_its_client(served: Served) -> None:
    """`covey` opens one for each command: seventy commands in a minute were more than the node took."""
    connection = served.connect()
    connection.request("GET", "/livez")
    assert connection.getresponse().read()
    connection.sock.shutdown(socket.SHUT_WR)
    assert connection.sock.recv(1) == b""
    connection.close()


def _look(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/livez")
    connection.getresponse()


def test_connections_over_the_cap_are_closed_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covey_node.api.server.CONNECTIONS_MAX", 2)
    with serving(tmp_path) as served:
        first, second, third = (served.connect() for _ in range(3))
        for connection in (first, second):
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
        with pytest.raises(ConnectionError):
            _look(third)
        third.close()
        first.close()
        second.request("GET", "/livez")
        assert second.getresponse().read()
        second.close()
