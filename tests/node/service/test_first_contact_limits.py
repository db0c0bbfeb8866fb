"""What strangers may cost while their mail lies at relays, and that the mail of contacts goes on meanwhile."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from covey_core.peers import peer_id_bytes
from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.crypto.replica import ReplicaKeys
from covey_node.net.mailbox import MailboxClient, Role
from covey_node.protocol.status import ContactState
from covey_node.service.contact_stocking import ContactQueue, ask_as_owner, standing
from covey_node.store import contact_stock
from covey_node.store.queues import Purpose
from tests.node.service.test_first_contact_away import invited, relays_of
from tests.node.service.test_first_contact_hostile import bundle_of, of_purpose, replace_pair, request_by, take_all
from tests.node.service.test_never_together import at_rest, has_texts, link_of, three_relays
from tests.support.away import away_side
from tests.support.people import in_state, running_node, say, until


async def deposit(client: MailboxClient, queue: ContactQueue, packet: bytes) -> m.Answer:
    """Put a packet into a contact queue that lets everybody in."""
    assert queue.row.send_id is not None
    keys = ReplicaKeys.derive(queue.secret, queue.row.relay, queue.row.send_id)
    put = m.Put(queue.row.send_id, keys.mid(packet), 3600, keys.seal(packet))
    at = next(at for at in client.relays() if peer_id_bytes(at.relay) == queue.row.relay)
    return await client.call(at, put, role=Role.SEND, seed=None, queue=queue.row.send_id)


async def test_what_was_left_lying_is_fetched_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INCOMING_REQUESTS_MAX", 1)
    monkeypatch.setattr(limits, "CONTACT_LEFT_SECONDS", 0.1)
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        assert await alice.own_call(queue, m.Rot(queue.recv_id, m.AdmitOpen())) == m.Done()
        bundle = replace_pair(await bundle_of(alice, queue))
        async with AsyncExitStack() as stack:
            for name in ("bob", "carol", "eve"):
                side = await stack.enter_async_context(away_side(tmp_path / name, network, running=()))
                assert isinstance(await deposit(alice.client, queue, request_by(side, bundle)), m.Stored)
        await alice.collect()
        assert {name: row.state for name, row in (await alice.people()).items()} == {"bob": ContactState.INCOMING}
        assert len(await alice.lying(queue)) == 2
        await alice.acquaintance.answer("bob", accept=False)
        await alice.until("carol", lambda row: row.state is ContactState.INCOMING)
        await alice.acquaintance.answer("carol", accept=False)
        await alice.until("eve", lambda row: row.state is ContactState.INCOMING)
        with trio.fail_after(30):
            while await alice.lying(queue):
                await trio.lowlevel.checkpoint()


async def test_a_share_is_filled_up_again_when_its_pairs_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTACT_STOCK_PAIRS", 3)
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        link = await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.INVITES)
        before = await alice.ledger.read(lambda tx: contact_stock.unused(tx, queue.row.id))
        assert before[0] == 3
        bundle = await bundle_of(alice, queue)
        async with away_side(tmp_path / "bob", network, running=()) as bob:
            await alice.incoming.receive_unnamed([request_by(bob, bundle)])

        def is_filled(count: int) -> bool:
            return count >= 3

        with trio.fail_after(30):
            while not is_filled((await alice.ledger.read(lambda tx: contact_stock.unused(tx, queue.row.id)))[0]):
                await alice.contact_queues.progress()
        assert await alice.own_call(queue, m.Rot(queue.recv_id, m.AdmitOpen())) == m.Done()
        await take_all(alice, link)


async def test_a_share_never_holds_more_private_halves_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.INVITES)
        made = [(number, bytes(108)) for number in range(1, 1 + limits.CONTACT_SHARE_PAIRS)]
        most = limits.CONTACT_SHARE_PAIRS
        await alice.ledger.change(
            lambda tx, _: contact_stock.add_pairs(tx, queue.row.id, made, now=alice.own.now() + 9, most=most)
        )
        kept = await alice.ledger.read(
            lambda tx: tx.all("SELECT id FROM one_time_pairs WHERE queue_id = ?", (queue.row.id,))
        )
        assert sorted(number for (number,) in kept) == [number for number, _ in made]


async def test_a_flood_fills_the_queue_of_open_invites_and_the_mail_of_contacts_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FIRST_CONTACTS_PER_MINUTE", 3)
    alice_home, bob_home = tmp_path / "alice", tmp_path / "bob"
    async with (
        three_relays(tmp_path) as (network, _),
        running_node(bob_home, network, mailboxes=True, listens=False) as bob,
    ):  # no path leads from one to the other: all goes through mailboxes
        async with running_node(alice_home, network, mailboxes=True, listens=False) as alice:
            link = (await link_of(alice, 3)).link
            assert link is not None
            await bob.add(link, alias="alice", intro="")
            await until(bob, lambda: in_state(bob, "alice", ContactState.ACCEPTED))
            await at_rest(bob)
            await at_rest(alice)
        async with running_node(alice_home, network, mailboxes=True, listens=False) as alice:  # listens to all at once
            client, contact_queues = alice._parts.mailboxes.client, alice._parts.mailboxes.contact_queues
            assert client is not None
            assert contact_queues is not None
            for queue in await alice._ledger.read(standing):
                if queue.purpose is Purpose.OPEN:
                    assert await ask_as_owner(client, queue, m.Rot(queue.recv_id, m.AdmitOpen())) == m.Done()
                    for number in range(20):
                        junk = b"\x01\x01\x01" + bytes((number,)) + bytes(16_380)
                        assert isinstance(await deposit(client, queue, junk), m.Stored)
            with trio.fail_after(30):
                while not contact_queues.has_left_something:
                    await trio.lowlevel.checkpoint()
            await say(bob, "alice", "still here")
            await until(alice, lambda: has_texts(alice, "bob", "still here"))
