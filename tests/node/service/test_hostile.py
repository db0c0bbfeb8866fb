"""What a hostile contact or stranger sends: the node stays up, and keeps what its user decided."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from covey_core.peers import ed25519_key_in
from covey_node.protocol.contents import Body, Reachability
from covey_node.protocol.status import Status
from covey_node.service.composing import own_reachability, send_notice_content
from covey_node.service.effects import Effects
from covey_node.service.node import Node
from covey_node.store import contacts
from covey_node.store.tx import Tx
from tests.support.people import acquaint, empty_network, reaches, running_node, say, until

NO_POINT = b"\xff" * 32


async def test_an_address_that_is_none_does_not_end_the_node(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice:
        async with running_node(tmp_path / "bob", network) as bob:
            await acquaint(alice, bob)
            peer = (await bob.status()).peer
            odd = (f"/ip4/127.0.0.1/tcp/1/ip6zone/zzz/p2p/{peer}",)
            await _tells(bob, lambda tx: replace(own_reachability(tx), addrs=odd))
            await reaches(bob, await say(bob, "alice", "after it"), Status.DELIVERED)
        waiting = await say(alice, "bob", "are you there?")
        await until(alice, lambda: _was_tried(alice, waiting))
        assert (await alice.message(waiting)).status is Status.QUEUED


async def test_a_record_key_that_is_none_is_not_taken(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        await _tells(bob, lambda _tx: Reachability(NO_POINT, bytes(32), ()))
        await reaches(bob, await say(bob, "alice", "after it"), Status.DELIVERED)
        row = await alice._ledger.read(lambda tx: contacts.by_alias(tx, "bob"))
        assert row is not None
        assert row.record_key != NO_POINT


async def test_a_peer_with_a_key_of_another_type_does_not_end_the_node(tmp_path: Path) -> None:
    network = replace(empty_network(), key=None)
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        foreign: Any = new_host(key_pair=create_new_key_pair())
        async with foreign.run([]):
            with alice._parts.host.subscribe() as events:
                await foreign.connect(_info(alice))
                with trio.fail_after(10):
                    assert ed25519_key_in((await anext(events)).peer) is None
                await acquaint(alice, bob)
            await foreign.get_network().close()


def _info(node: Node) -> PeerInfo:
    addr = Multiaddr(node._parts.host.addrs[0])
    return PeerInfo(ID.from_base58(node._parts.host.peer_id), [addr])


async def _tells(node: Node, body: Callable[[Tx], Body]) -> None:
    """Let a node send its contact `alice` a content of any kind."""

    def tell(tx: Tx, effects: Effects) -> None:
        row = contacts.by_alias(tx, "alice")
        assert row is not None
        send_notice_content(tx, effects, node._parts.own, row, body(tx))

    await node._ledger.change(tell)


async def _was_tried(node: Node, message: str) -> bool:
    return (await node.message(message)).attempts > 0
