"""go-libp2p, the reference implementation, at our relay, and our nodes at its relay, on a public network."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from covey_core.network import RelayEntry, new_network
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status
from tests.interop.conftest import ForeignPeer, running_peer
from tests.relay.conftest import relay_on
from tests.support.circuit_client import until
from tests.support.people import acquaint, reaches, running_node, say, texts

pytestmark = pytest.mark.interop

LISTEN = "/ip4/127.0.0.1/tcp/0"
ECHOED_BYTES = 100_000


async def reserved(peer: ForeignPeer, relay: str) -> str:
    """Have a peer take a slot; returns its circuit address."""
    await peer.tell(do="reserve", relay=relay)
    told = await peer.hear("reserved")
    assert told["voucher"]
    return str(told["addr"])


async def test_two_go_nodes_reach_each_other_through_our_relay(go_peer: Path) -> None:
    node = (str(go_peer), "node", LISTEN)
    with trio.fail_after(120):
        async with (
            relay_on(new_network("public", private=False)) as relay,
            running_peer(node) as bob,
            running_peer((str(go_peer), "node")) as alice,
        ):
            address = await reserved(bob, relay.host.addrs[0])
            assert relay.service.reservations == 1
            await alice.tell(do="dial", addr=address, bytes=ECHOED_BYTES)
            echoed = await alice.hear("echoed")
            assert (echoed["bytes"], echoed["same"], echoed["direct"]) == (ECHOED_BYTES, True, False)
            called = await bob.hear("called")
            assert not called["direct"]
            assert relay.sample("libp2p_relaysvc_data_transferred_bytes_total") > 2 * ECHOED_BYTES
            await bob.tell(do="stop")
            await until(lambda: relay.service.reservations == 0)


async def test_two_of_our_nodes_talk_through_gos_relay(go_peer: Path, tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with running_peer((str(go_peer), "relay", LISTEN)) as relay:
            told = await relay.hear("ready")
            network = replace(
                new_network("public", private=False), relays=(RelayEntry("reference", tuple(told["addrs"])),)
            )
            async with (
                running_node(tmp_path / "alice", network, listens=False) as alice,
                running_node(tmp_path / "bob", network, listens=False) as bob,
            ):
                await acquaint(alice, bob)
                message = await say(alice, "bob", "over the reference implementation's relay")
                delivered = await reaches(alice, message, Status.DELIVERED)
                assert delivered.path is PathKind.RELAYED
                assert await texts(bob, "alice") == ["over the reference implementation's relay"]
