"""go-libp2p and Covey's host meet over QUIC, either side dialing."""

from pathlib import Path

import pytest
import trio

from covey_core.host import Stream
from covey_core.network import new_network
from covey_core.peers import PeerId
from tests.host.conftest import host_on
from tests.interop.conftest import running_peer

pytestmark = pytest.mark.interop

ECHO = "/covey-test/echo/1"
QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
BYTES = 1_500_000


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


async def test_a_go_node_dials_our_host_over_quic(go_peer: Path) -> None:
    with trio.fail_after(60):
        async with (
            host_on(new_network("public", private=False), QUIC) as host,
            running_peer([str(go_peer), "node", QUIC]) as peer,
        ):
            host.handle(ECHO, echo)
            go = PeerId((await peer.hear("ready"))["peer"])
            await peer.tell(do="dial", addr=host.addrs[0], bytes=BYTES)
            echoed = await peer.hear("echoed")
            assert echoed["same"]
            assert echoed["bytes"] == BYTES
            assert echoed["addr"] == host.addrs[0].partition("/p2p/")[0]
            (seen,) = host.connections(go)
            assert seen.transport == "quic"
            assert await host.ping(go) > 0


async def test_our_host_dials_a_go_node_over_quic(go_peer: Path) -> None:
    with trio.fail_after(60):
        async with (
            running_peer([str(go_peer), "node", QUIC]) as peer,
            host_on(new_network("public", private=False), QUIC) as host,
        ):
            ready = await peer.hear("ready")
            go = PeerId(ready["peer"])
            await host.connect(go, ready["addrs"])
            (seen,) = host.connections(go)
            assert seen.transport == "quic"
            assert await host.ping(go) > 0
            stream = await host.open_stream(go, ECHO)
            called = await peer.hear("called")
            assert called["addr"] == host.addrs[0].partition("/p2p/")[0], "the dial leaves from the listening port"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send, stream)
                back = b""
                while data := await stream.read_some():
                    back += data
            assert back == b"x" * BYTES


async def _send(stream: Stream) -> None:
    await stream.write(b"x" * BYTES)
    await stream.close_write()
