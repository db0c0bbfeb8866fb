"""The event stream: ids, resuming, heartbeats, and how it ends for slow clients."""

from __future__ import annotations

import http.client
import json
from dataclasses import asdict
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from covey_node.api.events import HEARTBEAT, Buffer, EventStream, frame
from covey_node.api.limits import STREAM_HEARTBEAT_SECONDS
from tests.node.api.fake_port import FakePort, a_contact
from tests.node.api.serving import Served


def subscribe(
    served: Served, query: str = "", **headers: str
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Return the stream once it is subscribed: its first heartbeat has come."""
    connection = served.connect()
    connection.request("GET", f"/v1/events{query}", headers={"authorization": f"Bearer {served.bearer}", **headers})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
    assert answer.readline() == b":\n"
    assert answer.readline() == b"\n"
    return connection, answer


def next_event(answer: http.client.HTTPResponse) -> tuple[int | None, str, Any] | None:
    """Return the next event, None at the end of the stream."""
    fields: dict[str, str] = {}
    while line := answer.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            return int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])
    return None


def test_what_happens_comes_with_its_number_kind_and_data(served: Served) -> None:
    connection, answer = subscribe(served)
    view = served.within(lambda: served.port.receive("bob", "line one\nline two: 👍"))
    served.within(lambda: served.port.emit("contact", asdict(a_contact("zoe", "2" * 64))))
    number, kind, data = next_event(answer) or (0, "", {})
    assert (number, kind, data["text"], data["id"]) == (1, "message", "line one\nline two: 👍", view.id)
    assert (next_event(answer) or ())[:2] == (2, "contact")
    connection.close()


def test_only_the_kinds_asked_for_come(served: Served) -> None:
    connection, answer = subscribe(served, "?kinds=path,node")
    for kind in ("message", "path", "status", "node"):
        served.within(lambda kind=kind: served.port.emit(kind, {"it": kind}))
    assert next_event(answer) == (2, "path", {"it": "path"})
    assert next_event(answer) == (4, "node", {"it": "node"})
    connection.close()


def test_a_client_that_comes_back_misses_nothing_and_sees_nothing_twice(served: Served) -> None:
    for number in range(1, 6):
        served.within(lambda number=number: served.port.emit("node", {"n": number}))
    for query, headers in (("?after=3", {}), ("", {"last-event-id": "3"})):
        connection, answer = subscribe(served, query, **headers)
        assert [next_event(answer) for _ in range(2)] == [(4, "node", {"n": 4}), (5, "node", {"n": 5})]
        connection.close()


def test_a_last_event_id_that_is_no_number_counts_as_none(served: Served) -> None:
    served.within(lambda: served.port.emit("node", {"n": 1}))
    connection, answer = subscribe(served, "", **{"last-event-id": "x" * 100})
    served.within(lambda: served.port.emit("node", {"n": 2}))
    assert next_event(answer) == (2, "node", {"n": 2})
    connection.close()


def test_a_gap_is_announced_when_the_node_has_forgotten_events(served: Served) -> None:
    served.port.first_id = 100
    served.within(lambda: served.port.emit("node", {"n": 1}))
    connection, answer = subscribe(served, "?after=7")
    assert next_event(answer) == (None, "gap", {"after": 7, "next": 100})
    assert next_event(answer) == (100, "node", {"n": 1})
    connection.close()


def test_a_client_that_does_not_read_is_cut_off_with_a_clear_last_event(served: Served) -> None:
    connection, answer = subscribe(served)
    many = 400

    def burst() -> None:
        for number in range(many):
            served.port.emit("node", {"n": number, "filler": "x" * 60_000})

    served.within(burst)
    # Asking again proves that the node itself went on; the client still has read nothing.
    assert served.ask("GET", "/v1/status")[0] == 200
    events = []
    while (event := next_event(answer)) is not None:
        events.append(event)
    connection.close()
    *seen, last = events
    assert [number for number, _, _ in seen] == list(range(1, len(seen) + 1))
    assert len(seen) < many
    assert last == (None, "end", {"reason": "slow", "after": len(seen)})
    connection, answer = subscribe(served, f"?after={len(seen)}")
    assert (next_event(answer) or ())[0] == len(seen) + 1
    connection.close()


def test_the_subscription_ends_when_the_client_leaves(served: Served) -> None:
    connection, _ = subscribe(served)
    assert served.within(lambda: len(served.port.subscribers)) == 1
    connection.close()
    trio.from_thread.run(served.port.until_subscribers, 0, trio_token=served.token)


def test_the_stream_says_goodbye_when_the_node_stops(served: Served) -> None:
    connection, answer = subscribe(served)
    served.within(lambda: served.port.emit("node", {"n": 1}))
    assert next_event(answer) == (1, "node", {"n": 1})
    served.within(served.shutdown.set)
    assert next_event(answer) == (None, "end", {"reason": "shutdown", "after": 1})
    assert next_event(answer) is None
    connection.close()


# --- without sockets


class Client:
    """An ASGI client in memory that takes chunks when it likes."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.finished = False
        self.leave = trio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.body":
            self.sent += message["body"]
            self.finished = not message["more_body"]


def stream_of(port: FakePort, shutdown: trio.Event) -> EventStream:
    return EventStream(port.events(after=None), after=None, kinds=frozenset(), shutdown=shutdown)


async def test_a_silent_stream_shows_its_heartbeat(autojump_clock: MockClock) -> None:
    client = Client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream_of(FakePort(), trio.Event()), {}, client.receive, client.send)
        await trio.sleep(4.5 * STREAM_HEARTBEAT_SECONDS)
        client.leave.set()
    assert bytes(client.sent) == HEARTBEAT * 5  # the first says that the client is subscribed


async def test_a_stream_that_the_node_closes_says_so(autojump_clock: MockClock) -> None:
    client, port = Client(), FakePort()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream_of(port, trio.Event()), {}, client.receive, client.send)
        await trio.sleep(1)
        port.emit("node", {})
        await trio.sleep(1)
        for channel in tuple(port.subscribers):
            channel.close()
    assert bytes(client.sent).endswith(b'event: end\ndata: {"reason":"closed","after":1}\n\n')
    assert client.finished


@pytest.mark.parametrize(("limit_bytes", "limit_events", "room"), [(30, 100, 3), (1000, 4, 4)])
async def test_a_buffer_holds_its_limit_and_always_the_last_frame(
    limit_bytes: int, limit_events: int, room: int
) -> None:
    buffer = Buffer(limit_bytes=limit_bytes, limit_events=limit_events)
    assert [buffer.put(b"x" * 10) for _ in range(room + 1)] == [True] * room + [False]
    buffer.end(b"end")
    buffer.end(b"twice")
    assert await buffer.take() == (b"x" * 10 * room + b"end", True)


async def test_a_single_frame_over_the_limit_passes_through_an_empty_buffer() -> None:
    buffer = Buffer(limit_bytes=10)
    assert buffer.put(b"x" * 100)
    assert await buffer.take() == (b"x" * 100, False)
    assert buffer.put(b"y")


def test_no_text_can_break_out_of_its_frame() -> None:
    data = frame("message", {"text": "a\n\nevent: end\ndata: {}\r\n\r\n\u2028\x00"}, 7)
    assert data.count(b"\n") == 4
    assert b"\r" not in data
    assert data.startswith(b"id: 7\nevent: message\ndata: {")
