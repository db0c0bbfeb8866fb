"""What a hostile peer can have us send to a third party, counted at that third party's sockets."""

from __future__ import annotations

import pytest
import trio

from covey_core.host import HostConfig, limits, open_host
from covey_core.identity import Identity
from covey_core.network import new_network

LOOPBACK = ("127.0.0.0/8",)
LISTEN = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what takes seconds by the specification's intervals take none: only the counts are left."""
    monkeypatch.setattr(limits, "SPRAY_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(limits, "PUNCH_PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(limits, "PUNCH_QUIC_AFTER_SECONDS", 0.0)


async def test_a_third_party_gets_so_many_datagrams_of_a_punch_and_no_more(impatient: None) -> None:
    victim = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await victim.bind(("127.0.0.1", 0))
    addr = f"/ip4/127.0.0.1/udp/{victim.getsockname()[1]}/quic-v1"
    network = new_network("test", private=True, subnets=LOOPBACK)
    async with open_host(HostConfig(Identity.generate(), network, LISTEN)) as host:
        peer = Identity.generate().peer_id
        await host.punch(peer, [addr, addr], client=False, window_seconds=1.0)
        got = sizes = 0
        with trio.move_on_after(0.2):
            while True:
                data = await victim.recv(2048)
                got, sizes = got + 1, max(sizes, len(data))
    victim.close()
    assert got == limits.SPRAY_DATAGRAMS
    assert sizes <= 64, "small datagrams: nothing to amplify"


async def test_a_third_party_gets_so_many_connections_of_a_punch_and_no_more(impatient: None) -> None:
    accepted = 0

    async def slam(stream: trio.SocketStream) -> None:
        nonlocal accepted
        accepted += 1
        await trio.aclose_forcefully(stream)

    network = new_network("test", private=True, subnets=LOOPBACK)
    async with open_host(HostConfig(Identity.generate(), network, LISTEN)) as host, trio.open_nursery() as nursery:
        victim = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(trio.serve_listeners, slam, [victim])
        addr = f"/ip4/127.0.0.1/tcp/{victim.socket.getsockname()[1]}"
        result = await host.punch(Identity.generate().peer_id, [addr], client=True, window_seconds=3.0)
        nursery.cancel_scope.cancel()
    assert result.connection is None
    assert 0 < accepted <= limits.PUNCH_TRIES
