"""Noise and Yamux, and nothing else, on the dialing and on the listening side."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import libp2p
import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from covey_core.errors import Unreachable
from covey_core.host import HostConfig, multistream, open_host
from covey_core.identity import Identity
from covey_core.network import Network
from tests.host.conftest import host_on
from tests.host.test_multistream import HELLO, message


def port_of(address: str) -> int:
    return int(address.split("/")[4])


@pytest.mark.parametrize("offer", [str(PLAINTEXT_PROTOCOL_ID), "/tls/1.0.0", "/secio/1.0.0"])
async def test_only_noise_is_accepted(public: Network, offer: str) -> None:
    with trio.fail_after(20):
        async with host_on(public) as bob:
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0]))
            await stream.send_all(HELLO + message(offer) + message("/noise"))
            wanted = HELLO + message("na") + message("/noise")
            heard = b""
            while len(heard) < len(wanted):
                heard += await stream.receive_some()
            assert heard == wanted
            await stream.aclose()


async def _serve(handler: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery) -> int:
    listeners: list[Any] = await nursery.start(functools.partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    return int(listeners[0].socket.getsockname()[1])


async def test_only_noise_is_offered(public: Network) -> None:
    heard = bytearray()

    async def peer(stream: trio.SocketStream) -> None:
        await stream.send_all(HELLO + message("na"))
        async for data in stream:
            heard.extend(data)

    with trio.fail_after(20):
        async with host_on(public) as alice, trio.open_nursery() as nursery:
            port = await _serve(peer, nursery)
            with pytest.raises(Unreachable, match="no Noise session"):
                await alice.connect(Identity.generate().peer_id, [f"/ip4/127.0.0.1/tcp/{port}"])
            nursery.cancel_scope.cancel()
    offered = HELLO + message("/noise")
    assert bytes(heard[: len(offered)]) == offered
    assert len(heard) == len(offered) + 2 + 32, "behind it nothing but Noise's first message: a length, an X25519 key"


async def test_another_peer_than_the_one_dialed_is_refused(public: Network) -> None:
    with trio.fail_after(20):
        async with host_on(public) as alice, host_on(public) as bob:
            address = bob.addrs[0].partition("/p2p/")[0]
            with pytest.raises(Unreachable, match="Noise"):
                await alice.connect(Identity.generate().peer_id, [address])
            assert alice.connections() == ()


async def test_only_yamux_is_accepted(public: Network) -> None:
    keys = create_new_key_pair()
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    with trio.fail_after(20):
        async with host_on(public) as bob:
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0]))
            raw = RawConnection(TrioTCPStream(stream), initiator=True)
            await multistream.propose(raw, "/noise")
            secured = await noise.secure_outbound(raw, ID.from_base58(bob.peer_id))
            with pytest.raises(multistream.NotSpoken):
                await multistream.propose(secured, "/mplex/6.7.0")
            await stream.aclose()
            assert bob.connections() == ()


def test_upstream_still_accepts_plaintext_by_default() -> None:
    stock = libp2p.new_swarm()
    offered = stock.upgrader.security_multistream.transports  # type: ignore[attr-defined]
    assert PLAINTEXT_PROTOCOL_ID in offered, "upstream's default is safe now: tell so in docs/adr/0001"


async def test_a_host_is_no_peer_of_itself(public: Network) -> None:
    identity = Identity.generate()
    async with host_on(public, identity=identity) as host:
        with pytest.raises(Unreachable, match="itself"):
            await host.connect(host.peer_id, host.addrs)
        async with open_host(HostConfig(identity=identity, network=public)) as twin:
            bare = Multiaddr(host.addrs[0].partition("/p2p/")[0])
            with pytest.raises(SwarmException, match="itself"):
                await twin._swarm.dial(bare, ID.from_base58(host.peer_id))
