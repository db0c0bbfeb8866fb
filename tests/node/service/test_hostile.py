"""What a hostile contact or stranger sends: the node stays up, and keeps what its user decided."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from covey_core.peers import ed25519_key_in, peer_id_of
from covey_node import crypto, limits
from covey_node.crypto.primitives import SIGN_DEVICE_LIST
from covey_node.protocol.contents import Body, ContactRequest, Reachability, Receipt, ReceiptKind
from covey_node.protocol.frames import Outcome
from covey_node.protocol.lane import Settled
from covey_node.protocol.status import ContactState, Status
from covey_node.service.applying import safe_alias
from covey_node.service.composing import own_reachability, send_notice_content
from covey_node.service.effects import Effects
from covey_node.service.node import Node
from covey_node.service.people import note_devices
from covey_node.service.port import NotFound, Refused
from covey_node.service.settling import settle
from covey_node.store import contacts, deliveries, devices
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.tx import Tx
from tests.support.people import (
    acquaint,
    empty_network,
    in_state,
    people,
    reaches,
    running_node,
    say,
    texts,
    until,
)

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


async def test_a_late_refusal_does_not_undo_a_block(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        row = await _contact(alice, "bob")
        device = bob._parts.own.device_key
        await alice.block("bob")
        late = [Settled(1, Outcome.INVITE_UNKNOWN), Settled(2, Outcome.TOO_MANY_REQUESTS)]
        await alice._ledger.change(
            lambda tx, effects: settle(tx, effects, alice._parts.own, row.id, device, late, path="lan")
        )
        assert (await people(alice))["bob"].state is ContactState.BLOCKED


async def test_a_contact_whose_outbox_is_full_keeps_nobody_from_blocking_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        other = ContactRow(account_key=bytes(32), alias="mallory", state=ContactState.ACCEPTED, created_at=0.0)
        await alice._ledger.change(lambda tx, _: contacts.add(tx, other))
        monkeypatch.setattr(deliveries, "OUTBOX_PER_DEVICE", 0)
        await alice.block("mallory")
        assert (await people(alice))["mallory"].state is ContactState.BLOCKED


async def test_an_undecided_stranger_is_taken_from_a_few_times_a_minute(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        link = (await alice.invite(label="", valid_seconds=3600, one_use=False)).link
        assert link is not None
        await bob.add(link, alias="alice", intro="")
        await until(alice, lambda: in_state(alice, "bob", ContactState.INCOMING))
        await until(bob, lambda: in_state(bob, "alice", ContactState.REQUESTED))
        for number in range(2 * limits.FIRST_CONTACTS_PER_PEER_PER_MINUTE):
            await _tells(bob, lambda _tx, intro=str(number): ContactRequest(b"", "bob", intro))  # type: ignore[misc]
        await until(bob, lambda: _is_put_off(bob))
        taken = await alice._ledger.read(lambda tx: tx.number("SELECT count(*) FROM received"))
        assert taken <= limits.FIRST_CONTACTS_PER_PEER_PER_MINUTE


async def test_a_device_that_many_claim_is_still_its_owners(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await alice._ledger.change(lambda tx, _: _claim(tx, bob._parts.own.device_key))
        await acquaint(alice, bob)
        await reaches(bob, await say(bob, "alice", "it is me"), Status.DELIVERED)
        await reaches(alice, await say(alice, "bob", "I see"), Status.DELIVERED)
        await reaches(bob, await say(bob, "alice", "really"), Status.DELIVERED)
        assert await texts(alice, "bob") == ["it is me", "I see", "really"]
        begun = await alice._ledger.read(lambda tx: tx.number("SELECT count(*) FROM base_keys_seen"))
        assert begun == 1  # the session of bob's request still opens what he writes


async def test_a_revoked_device_gets_nothing_more_and_a_new_one_waits_for_the_user(tmp_path: Path) -> None:
    async with running_node(tmp_path / "alice", empty_network()) as alice:
        account, lost, new = crypto.Account.generate(os.urandom), _device(), _device()
        first = crypto.DeviceList.first(account, lost, now=1)
        row = ContactRow(account_key=account.public_key, alias="bob", state=ContactState.ACCEPTED, created_at=0.0)
        bob = await alice._ledger.change(lambda tx, _: contacts.add(tx, row))
        await _note(alice, "bob", first)
        waiting = await say(alice, "bob", "sealed for the first device")
        await alice.set_verified("bob", verified=True)

        added = first.adding(account, new.public(added_at=2), now=2)
        await _note(alice, "bob", added)
        with pytest.raises(Refused, match="changed"):
            await say(alice, "bob", "not yet")
        await _receipt(alice, "bob")
        assert await _queued(alice, bob.id) == {lost.ed25519: 2}

        await _note(alice, "bob", added.revoking(account, lost.ed25519, now=3))
        assert await _queued(alice, bob.id) == {}
        view = await alice.message(waiting)
        assert view.status is Status.FAILED
        assert "took this device off" in str(view.reason)

        await alice.set_verified("bob", verified=True)
        await say(alice, "bob", "to the new one")
        assert await _queued(alice, bob.id) == {new.ed25519: 2}  # and where we are


async def test_another_key_of_a_known_device_is_a_change_that_is_shown(tmp_path: Path) -> None:
    async with running_node(tmp_path / "alice", empty_network()) as alice:
        account, device = crypto.Account.generate(os.urandom), _device()
        row = ContactRow(account_key=account.public_key, alias="bob", state=ContactState.ACCEPTED, created_at=0.0)
        bob = await alice._ledger.change(lambda tx, _: contacts.add(tx, row))
        first = crypto.DeviceList.first(account, device, now=1)
        await _note(alice, "bob", first)
        other = replace(device.public(added_at=1), x25519=_device().x25519)
        forged = replace(first, number=2, previous=first.hash, devices=(other,))
        await _note(alice, "bob", replace(forged, signature=account.sign(SIGN_DEVICE_LIST, forged.body())))
        assert await alice._ledger.read(lambda tx: devices.unaccepted(tx, bob.id)) == {device.ed25519}


async def test_nobody_gets_by_name_what_is_meant_for_a_key(tmp_path: Path) -> None:
    async with running_node(tmp_path / "alice", empty_network()) as alice:
        bob = ContactRow(account_key=b"\xab" * 32, alias="bob", state=ContactState.ACCEPTED, created_at=0.0)
        mallory = replace(bob, account_key=b"\xcd" * 32, alias="abababab")
        await alice._ledger.change(lambda tx, _: (contacts.add(tx, bob), contacts.add(tx, mallory)))
        with pytest.raises(NotFound, match="several"):
            await alice.contact("abababab")
        assert (await alice.contact("ab" * 32)).alias == "bob"
        assert (await alice.contact("cd" * 4)).alias == "abababab"


@pytest.mark.parametrize("name", ["me", "ME", " * ", "..", "/./"])
def test_nobody_comes_under_a_name_that_stands_for_ourselves(name: str) -> None:
    assert safe_alias(name) == ""
    assert safe_alias(f"{name}lvin").endswith("lvin")


async def test_a_stranger_does_not_make_us_dial_in_our_own_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_node(tmp_path / "alice", empty_network()) as alice:
        device = _device()
        peer = peer_id_of(device.ed25519)
        addrs = (f"/ip4/192.168.1.1/tcp/80/p2p/{peer}", f"/ip4/127.0.0.1/tcp/1/p2p/{peer}")
        row = ContactRow(bytes(32), "stranger", ContactState.REFUSED, 0.0, addrs=addrs)
        stranger = await alice._ledger.change(lambda tx, _: contacts.add(tx, row))
        dialed: list[str] = []

        async def connect(_peer: str, found: Sequence[str], **_: object) -> None:
            dialed.extend(found)

        monkeypatch.setattr(alice._parts.host, "connect", connect)
        await alice._parts.reach.connect(stranger.id, peer)
        assert dialed == [addrs[1]]  # what the network's scope names
        await alice._ledger.change(lambda tx, _: contacts.save(tx, replace(stranger, state=ContactState.ACCEPTED)))
        dialed.clear()
        await alice._parts.reach.connect(stranger.id, peer)
        assert dialed == list(addrs)


def _device() -> crypto.DeviceKeys:
    return crypto.DeviceKeys.generate(os.urandom)


def _claim(tx: Tx, device_key: bytes) -> None:
    """Let ten strangers name a device that is not theirs."""
    for number in range(10):
        row = ContactRow(bytes([number]) * 32, f"stranger {number}", ContactState.INCOMING, 0.0)
        devices.put(tx, DeviceRow(contacts.add(tx, row).id, device_key, bytes(32), 0.0))


async def _note(node: Node, alias: str, found: crypto.DeviceList) -> None:
    def note(tx: Tx, effects: Effects) -> None:
        row = contacts.by_alias(tx, alias)
        assert row is not None
        note_devices(tx, effects, row, crypto.DeviceList.decode(found.encode()), now=5)

    await node._ledger.change(note)


async def _receipt(node: Node, alias: str) -> None:
    def tell(tx: Tx, effects: Effects) -> None:
        row = contacts.by_alias(tx, alias)
        assert row is not None
        send_notice_content(tx, effects, node._parts.own, row, Receipt(ReceiptKind.READ, (bytes(16),)))

    await node._ledger.change(tell)


async def _queued(node: Node, contact_id: int) -> dict[bytes, int]:
    """How much waits for which device."""
    rows = await node._ledger.read(
        lambda tx: tx.all(
            "SELECT device_key, count(*) FROM deliveries WHERE contact_id = ? GROUP BY device_key", (contact_id,)
        )
    )
    return {bytes(key): int(count) for key, count in rows}


async def _is_put_off(node: Node) -> bool:
    return "too many" in str((await people(node))["alice"].reason)


async def _contact(node: Node, alias: str) -> ContactRow:
    row = await node._ledger.read(lambda tx: contacts.by_alias(tx, alias))
    assert row is not None
    return row


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
