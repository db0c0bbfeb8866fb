"""js-libp2p and Covey's host meet on a public network, over TCP, WebSocket and QUIC, either side dialing."""

import pytest
import trio

from covey_core.host import Stream
from covey_core.host.addresses import parse, transport_label
from covey_core.network import new_network
from covey_core.peers import PeerId
from tests.host.conftest import TCP, WS, host_on
from tests.interop.conftest import RunJs

pytestmark = pytest.mark.interop

ECHO = "/covey-test/echo/1"
SCRIPT = "host/peer.js"
BYTES = 1_500_000
QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
SECURED = {TCP: ("/noise", "/yamux/1.0.0"), WS: ("/noise", "/yamux/1.0.0"), QUIC: ("native", "quic")}


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


@pytest.mark.parametrize("listen", [TCP, WS, QUIC])
async def test_a_js_node_pings_identifies_and_talks_to_our_host(run_js: RunJs, listen: str) -> None:
    network = new_network("public", private=False)
    with trio.fail_after(120):
        async with host_on(network, listen) as host, run_js(SCRIPT) as peer:
            host.handle(ECHO, echo)
            await peer.hear("up")
            await peer.tell(do="meet", addr=host.addrs[0], bytes=BYTES)
            met = await peer.hear("met")
            assert met["same"]
            assert met["rtt"] >= 0
            assert (met["encryption"], met["multiplexer"]) == SECURED[listen]
            assert {ECHO, "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"} <= set(met["protocols"])
            assert met["seenAt"].startswith(f"/ip4/127.0.0.1/{'udp' if listen == QUIC else 'tcp'}/")
            await peer.tell(do="stop")
            await peer.hear("stopped")


async def test_our_host_dials_a_js_node_over_every_transport(run_js: RunJs) -> None:
    network = new_network("public", private=False)
    with trio.fail_after(120):
        async with run_js(SCRIPT) as peer, host_on(network) as host:
            up = await peer.hear("up")
            js = PeerId(up["peer"])
            for kind in ("ws", "tcp", "quic"):
                (address,) = (one for one in up["addrs"] if transport_label(parse(one)) == kind)
                await host.connect(js, [address])
                (seen,) = host.connections(js)
                assert seen.transport == kind
                assert await host.ping(js) > 0
                stream = await host.open_stream(js, ECHO)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send, stream)
                    back = b""
                    while data := await stream.read_some():
                        back += data
                assert back == b"x" * BYTES
                await host.disconnect(js)
            await peer.tell(do="stop")
            await peer.hear("stopped")


async def send(stream: Stream) -> None:
    await stream.write(b"x" * BYTES)
    await stream.close_write()
