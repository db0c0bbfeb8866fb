import contextlib
import http.client
import json
import socket
from functools import partial

import pytest
import trio
from prometheus_client import CollectorRegistry

from covey_core.errors import SettingsInvalid
from covey_core.health import Health, State
from covey_core.metrics import CoreMetrics
from covey_core.ops import _OpsApp, serve_ops


def ask(port, path, method="GET", host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("content-type"), response.read()
    finally:
        connection.close()


async def asked(port, *args, **kwargs):
    with trio.fail_after(15):
        return await trio.to_thread.run_sync(partial(ask, port, *args, **kwargs))


@pytest.fixture
async def served(nursery):
    registry = CollectorRegistry()
    health = Health(metrics=CoreMetrics(registry, role="relay", version="1"))
    serve = partial(serve_ops, host="127.0.0.1", port=0, registry=registry, health=health)
    return await nursery.start(serve), health


async def test_metrics_are_served_as_prometheus_reads_them(served):
    port, _ = served
    status, kind, body = await asked(port, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'covey_build_info{role="relay",version="1"} 1.0' in body


async def test_readyz_says_503_and_why_until_the_component_is_ready(served):
    port, health = served
    status, kind, body = await asked(port, "/readyz")
    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {"ok": False, "state": "starting", "reasons": {"state": "the component is starting"}}
    health.set_state(State.READY)
    status, _, body = await asked(port, "/readyz")
    assert (status, json.loads(body)) == (200, {"ok": True, "state": "ready", "reasons": {}})
    health.set_state(State.DRAINING)
    assert (await asked(port, "/readyz"))[0] == 503


async def test_livez_says_503_when_a_task_has_stalled(nursery):
    now = 0.0
    health = Health(clock=lambda: now)
    port = await nursery.start(
        partial(serve_ops, host="127.0.0.1", port=0, registry=CollectorRegistry(), health=health)
    )
    health.heartbeat("keeper", bound_seconds=5)
    assert (await asked(port, "/livez"))[0] == 200
    now = 6.0
    status, _, body = await asked(port, "/livez")
    assert status == 503
    assert "keeper" in json.loads(body)["reasons"]


async def test_head_has_no_body_other_methods_and_paths_are_refused(served):
    port, _ = served
    assert (await asked(port, "/livez", "HEAD"))[::2] == (200, b"")
    assert (await asked(port, "/livez", "POST"))[0] == 405
    assert (await asked(port, "/admin"))[0] == 404


UPGRADE = (
    b"GET /livez HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("garbage", [b"\x00\xff" * 600, b"GET /livez HTTP/1.1\r\nX: " + b"y" * 20_000, UPGRADE])
async def test_garbage_on_the_port_is_refused_and_does_not_stop_the_service(served, garbage):
    port, _ = served
    answer = b""
    with trio.fail_after(15):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(garbage)
            while chunk := await stream.receive_some(4096):
                answer += chunk
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 500"))
    assert (await asked(port, "/livez"))[0] == 200


async def test_a_busy_port_is_an_error_for_the_user():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsInvalid, match=f"cannot listen on 127.0.0.1:{port}"):
            await serve_ops(host="127.0.0.1", port=port, registry=CollectorRegistry(), health=Health())


async def test_the_port_is_closed_when_its_nursery_ends():
    async with trio.open_nursery() as nursery:
        port = await nursery.start(
            partial(serve_ops, host="127.0.0.1", port=0, registry=CollectorRegistry(), health=Health())
        )
        idle = await trio.open_tcp_stream("127.0.0.1", port)
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        with pytest.raises(OSError, match=r"refused|all attempts"):
            await trio.open_tcp_stream("127.0.0.1", port)
        async with idle:
            with contextlib.suppress(trio.BrokenResourceError):  # it was perhaps not accepted yet
                assert await idle.receive_some(10) == b""


async def test_more_requests_than_slots_are_told_to_come_back():
    app = _OpsApp(CollectorRegistry(), Health())
    app._slots = trio.CapacityLimiter(1)
    app._slots.acquire_on_behalf_of_nowait("somebody")
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        raise AssertionError

    await app({"type": "http", "method": "GET", "path": "/livez"}, receive, send)
    assert sent[0]["status"] == 503
    app._slots.release_on_behalf_of("somebody")
    for begin in (2, 4):
        await app({"type": "http", "method": "GET", "path": "/livez"}, receive, send)
        assert sent[begin]["status"] == 200
