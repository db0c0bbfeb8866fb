"""Relays, strangers and former friends who do what they should not, around requests to people who are away."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from covey_core.peers import peer_id_bytes
from covey_core.wire import mailbox as m
from covey_node import crypto, limits
from covey_node.metrics import RatchetReject
from covey_node.net.mailbox import Role
from covey_node.protocol.contents import ContactRequest, Content, encode_content
from covey_node.protocol.frames import Outcome
from covey_node.protocol.invite import Invite
from covey_node.protocol.status import ContactState
from covey_node.service.contact_stocking import ContactQueue
from covey_node.store import account, contact_stock, contacts, queues
from covey_node.store.queues import Purpose, SetRow
from tests.node.service.test_first_contact_away import invited, relays_of
from tests.support.away import Side, away_side


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_HEAD_START_SECONDS", 0)
    monkeypatch.setattr(limits, "REQUEST_MAILBOXES_SECONDS", 0)


async def take_all(asker: Side, link: str) -> None:
    """Empty the queues' one-time pairs with open doors (the owner admits everybody for this)."""
    found = Invite.from_link(link).mailboxes
    assert found is not None
    for replica in found.replicas:
        at = next(at for at in asker.client.relays() if peer_id_bytes(at.relay) == replica.relay)
        while True:
            answer = await asker.client.call(
                at, m.Take(replica.send_id, asker.own.rng(16)), role=Role.SEND, seed=None, queue=replica.send_id
            )
            assert isinstance(answer, m.Key), answer
            if not answer.one_time:
                break


async def test_when_pairs_run_out_the_bundle_alone_does(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 2) as (network, relays):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
            for queue in await of_purpose(alice, Purpose.INVITES):
                assert await alice.own_call(queue, m.Rot(queue.recv_id, m.AdmitOpen())) == m.Done()
        async with away_side(tmp_path / "eve", network, running=()) as eve:
            await take_all(eve, link)
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            await bob.until_stored("alice", 2, 2)
        taken = [one.answer for relay in relays for one in relay.seen if isinstance(one.answer, m.Key)]
        assert taken[-1].one_time == b""
        async with away_side(tmp_path / "alice", network) as alice:
            await alice.collect()
            assert (await alice.people())["bob"].state is ContactState.ACCEPTED


async def test_each_pair_is_handed_out_once_and_each_relay_has_its_own(tmp_path: Path) -> None:
    async with relays_of(tmp_path) as (network, relays):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
            keys = {queue.row.relay: queue for queue in await of_purpose(alice, Purpose.INVITES)}
            for queue in keys.values():
                await alice.own_call(queue, m.Rot(queue.recv_id, m.AdmitOpen()))
            await take_all(alice, link)
        ids = Counter(
            keys[peer_id_bytes(relay.at.relay)].stock_keys.open_pair(one.answer.one_time).id
            for relay in relays
            for one in relay.seen
            if isinstance(one.answer, m.Key) and one.answer.one_time
        )
        assert len(ids) == 3 * limits.CONTACT_STOCK_PAIRS
        assert set(ids.values()) == {1}


async def test_a_pair_handed_out_twice_opens_the_first_request_and_is_told_apart(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        rejects: list[RatchetReject] = []
        alice.incoming._rejected = rejects.append
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        bundle = await bundle_of(alice, queue)
        async with (
            away_side(tmp_path / "bob", network, running=()) as bob,
            away_side(tmp_path / "eve", network, running=()) as eve,
        ):
            envelopes = [request_by(side, bundle) for side in (bob, eve)]
        assert await alice.incoming.receive_unnamed(envelopes) == [Outcome.ACCEPTED, Outcome.UNDECRYPTABLE]
        assert rejects == [RatchetReject.PREKEY_USED]
        assert list(await alice.people()) == ["bob"]
        assert await alice.incoming.receive_unnamed(envelopes) == [Outcome.DUPLICATE, Outcome.UNDECRYPTABLE]


async def test_two_newcomers_with_one_link_never_both_become_contacts(tmp_path: Path) -> None:
    async with relays_of(tmp_path) as (network, _):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            await bob.until_stored("alice", 3, 3)
        async with away_side(tmp_path / "eve", network) as eve:
            await eve.acquaintance.add(link, alias="alice", intro="")
            row = await eve.until("alice", lambda row: "no relay of theirs" in (row.reason or ""))
            assert "it was used, taken back or is over" in (row.reason or "")
        async with away_side(tmp_path / "alice", network) as alice:
            await alice.collect()
            assert {name: row.state for name, row in (await alice.people()).items()} == {"bob": ContactState.ACCEPTED}


async def test_of_two_requests_that_both_lie_there_with_one_token_the_first_counts(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        token = Invite.from_link(await invited(alice)).token
        (queue,) = await of_purpose(alice, Purpose.INVITES)
        bundle = await bundle_of(alice, queue)
        async with (
            away_side(tmp_path / "bob", network, running=()) as bob,
            away_side(tmp_path / "eve", network, running=()) as eve,
        ):
            envelopes = [request_by(side, replace_pair(bundle), token) for side in (bob, eve)]
        assert await alice.incoming.receive_unnamed(envelopes) == [Outcome.ACCEPTED, Outcome.INVITE_USED]
        assert list(await alice.people()) == ["bob"]


@pytest.mark.parametrize("end", ["revoked", "expired", "used"])
async def test_an_invite_that_is_over_admits_nobody_any_more(tmp_path: Path, end: str) -> None:
    clock = [time.time()]
    async with (
        relays_of(tmp_path, 1) as (network, _),
        away_side(tmp_path / "alice", network, now=lambda: clock[0]) as alice,
    ):
        link = await invited(alice)
        found = Invite.from_link(link)
        if end == "revoked":
            (view,) = await alice.acquaintance.invites()
            await alice.acquaintance.revoke_invite(view.id)
        elif end == "expired":
            clock[0] += 3601
            alice.contact_queues._due.ring()
        else:
            async with away_side(tmp_path / "bob", network, running=()) as bob:
                (queue,) = await of_purpose(alice, Purpose.INVITES)
                envelope = request_by(bob, await bundle_of(alice, queue), found.token)
            assert await alice.incoming.receive_unnamed([envelope]) == [Outcome.ACCEPTED]
        await alice.contact_queues.admitted()
        assert found.mailboxes is not None
        (replica,) = found.mailboxes.replicas
        proof = m.SecretProof(crypto.admission_secret(found.token, replica.relay))
        (at,) = alice.client.relays()
        take = m.Take(replica.send_id, bytes(16), proof)
        answer = await alice.client.call(at, take, role=Role.SEND, seed=None, queue=replica.send_id)
        assert answer == m.Refused(m.Reason.AUTH)


async def test_replayed_requests_change_nothing_whoever_replays_them(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        bundle = await bundle_of(alice, queue)
        async with away_side(tmp_path / "bob", network, running=()) as bob:
            one_time, last_resort = request_by(bob, bundle), request_by(bob, replace_pair(bundle))
        for envelope in (one_time, last_resort):
            assert await alice.incoming.receive_unnamed([envelope]) == [Outcome.ACCEPTED]
        before = await alice.people()
        await alice.ledger.change(lambda tx, _: tx.execute("DELETE FROM received"))
        await alice.ledger.change(lambda tx, _: tx.execute("DELETE FROM sessions"))
        got = await alice.incoming.receive_unnamed([one_time, last_resort, one_time])
        assert got == [Outcome.UNDECRYPTABLE] * 3
        assert await alice.people() == before


async def test_work_that_is_too_little_or_for_something_else_is_not_taken(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        send_id, (at,) = queue.row.send_id, alice.client.relays()
        assert send_id is not None

        async def call(command: m.Command) -> m.Answer:
            return await alice.client.call(at, command, role=Role.SEND, seed=None, queue=send_id)

        challenge = await call(m.Work(send_id, m.Purpose.TAKE))
        assert isinstance(challenge, m.Challenge)
        for proof in (None, m.WorkProof(challenge.challenge, 1), m.SecretProof(bytes(32))):
            assert await call(m.Take(send_id, bytes(16), proof)) == m.Refused(m.Reason.WORK)


async def test_strangers_have_so_many_requests_opened_a_minute_and_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FIRST_CONTACTS_PER_MINUTE", 2)
    clock = [time.time()]
    async with (
        relays_of(tmp_path, 1) as (network, _),
        away_side(tmp_path / "alice", network, now=lambda: clock[0]) as alice,
    ):
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        row = await set_of(alice, queue)
        junk = [bytes((1, 1, 1, number)) + bytes(16_380) for number in range(3)]
        took = [Outcome.UNDECRYPTABLE, Outcome.UNDECRYPTABLE, None]
        assert await alice.contact_queues.take(row, junk) == took
        clock[0] += 61
        again = await alice.contact_queues.take(row, junk)
        assert again == [Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.UNDECRYPTABLE]


async def test_a_full_list_of_requests_leaves_further_ones_at_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INCOMING_REQUESTS_MAX", 1)
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        row, bundle = await set_of(alice, queue), replace_pair(await bundle_of(alice, queue))
        async with (
            away_side(tmp_path / "bob", network, running=()) as bob,
            away_side(tmp_path / "eve", network, running=()) as eve,
        ):
            envelopes = [request_by(side, bundle) for side in (bob, eve)]
        assert await alice.contact_queues.take(row, envelopes) == [Outcome.ACCEPTED, None]
        await alice.acquaintance.answer("bob", accept=False)
        assert await alice.contact_queues.take(row, envelopes) == [Outcome.DUPLICATE, Outcome.ACCEPTED]
        assert (await alice.people())["eve"].state is ContactState.INCOMING


async def test_what_is_no_envelope_for_us_is_dropped_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        await invited(alice)
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        bundle = await bundle_of(alice, queue)
        async with away_side(tmp_path / "bob", network, running=()) as bob:
            good = request_by(bob, bundle)
            text = crypto.initiate(bob.own.local, replace_pair(bundle), b"no content", bob.own.rng, now=bob.own.now())
        flipped = good[:-1] + bytes((good[-1] ^ 1,))
        established = b"\x01\x01\x02" + bytes(4093)
        got = await alice.incoming.receive_unnamed([flipped, established, b"", text[1]])
        assert got[:2] == [Outcome.UNDECRYPTABLE, Outcome.NOT_A_CONTACT]
        assert not any(outcome.delivered for outcome in got)
        assert not await alice.people()
        assert await alice.incoming.receive_unnamed([good]) == [Outcome.ACCEPTED]


async def test_a_relay_that_hands_out_other_keys_is_passed_over(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 2) as (network, relays):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
            liar = (await of_purpose(alice, Purpose.INVITES))[0]
            async with away_side(tmp_path / "eve", network, running=()) as eve:
                prekeys = crypto.Prekeys.generate(eve.own.rng, now=eve.own.now())
                hers = prekeys.bundle(eve.own.local, now=eve.own.now())
            false = liar.stock_keys.seal_bundle(hers, alice.own.rng)
            assert await alice.own_call(liar, m.Stock(liar.recv_id, (), false)) == m.Done()
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            await bob.until_stored("alice", 2, 2)
        async with away_side(tmp_path / "alice", network) as alice:
            await alice.collect()
            assert (await alice.people())["bob"].state is ContactState.ACCEPTED
        assert relays


@pytest.mark.parametrize("wrong", ["device", "account"])
async def test_keys_of_another_device_or_account_than_the_link_names_are_not_used(tmp_path: Path, wrong: str) -> None:
    async with relays_of(tmp_path, 1) as (network, _):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
            (queue,) = await of_purpose(alice, Purpose.INVITES)
            keys = crypto.DeviceKeys.generate(alice.own.rng)
            added = keys.public(added_at=alice.own.now())
            both = alice.own.local.devices.adding(alice.own.account, added, now=alice.own.now())
            prekeys = crypto.Prekeys.generate(alice.own.rng, now=alice.own.now())
            local = crypto.LocalDevice(keys, both)
            if wrong == "account":  # the very device, in somebody else's list
                mine, eve = alice.own.local.keys, crypto.Account.generate(alice.own.rng)
                local = crypto.LocalDevice(mine, crypto.DeviceList.first(eve, mine, now=alice.own.now()))
            other = prekeys.bundle(local, now=alice.own.now())
            stocked = queue.stock_keys.seal_bundle(other, alice.own.rng)
            assert await alice.own_call(queue, m.Stock(queue.recv_id, (), stocked)) == m.Done()
            assert await alice.own_call(queue, m.Rot(queue.recv_id, m.AdmitOpen())) == m.Done()
            await take_all(alice, link)  # the pairs that are left are signed by the first device, and would not fit
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            await bob.until("alice", lambda row: "keys that are not theirs" in (row.reason or ""))


async def test_a_stranger_is_owed_no_receipt_and_an_invited_one_is(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _), away_side(tmp_path / "alice", network) as alice:
        token = Invite.from_link(await invited(alice)).token
        (queue,) = await of_purpose(alice, Purpose.OPEN)
        bundle = replace_pair(await bundle_of(alice, queue))
        async with (
            away_side(tmp_path / "bob", network, running=()) as bob,
            away_side(tmp_path / "eve", network, running=()) as eve,
        ):
            stranger, friend = request_by(eve, bundle), request_by(bob, bundle, token)
        assert await alice.incoming.receive_unnamed([stranger]) == [Outcome.ACCEPTED]
        assert not await alice.ledger.read(lambda tx: tx.all("SELECT contact_id FROM receipts_due"))
        assert await alice.incoming.receive_unnamed([friend]) == [Outcome.ACCEPTED]
        assert len(await alice.ledger.read(lambda tx: tx.all("SELECT contact_id FROM receipts_due"))) == 1


async def test_what_relays_keep_shows_neither_account_nor_device_and_matches_nowhere(tmp_path: Path) -> None:
    async with relays_of(tmp_path) as (network, relays):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
            known = (alice.own.account_key, alice.own.device_key, Invite.from_link(link).token)
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            await bob.until_stored("alice", 3, 3)
            known = (*known, bob.own.account_key, bob.own.device_key)
        told = [one.command for relay in relays for one in relay.seen]
        stocked = [blob for one in told if isinstance(one, m.Stock) for blob in (*one.keys, one.bundle) if blob]
        deposited = [one.blob for one in told if isinstance(one, m.Put)]
        values = [*stocked, *deposited]
        for value in values:
            assert not any(name in value for name in known)
        windows = Counter(value[at : at + 32] for value in values for at in range(0, len(value) - 32, 16))
        assert not any(count > 1 and any(window) for window, count in windows.items())
        keys = [command.recv_key for command in told if isinstance(command, m.New)]
        assert len(set(keys)) == len(keys) == 6


async def test_a_relay_sees_that_an_invite_came_and_not_how_many_there_are(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 2) as (network, relays), away_side(tmp_path / "alice", network) as alice:
        for number in range(3):
            await invited(alice, label=f"bob {number}")
        (view, *_) = await alice.acquaintance.invites()
        await alice.acquaintance.revoke_invite(view.id)
        await alice.contact_queues.admitted()
        seen = {relay.at.operator: [set(hashes_in(one.command)) for one in relay.seen] for relay in relays}
        for name, all_of_it in seen.items():
            admissions = [hashes for hashes in all_of_it if hashes]
            assert {len(hashes) for hashes in admissions} == {64}, name
            changes = [len(old - new) for old, new in pairwise(admissions) if old != new]
            assert changes == [1, 1, 1, 1]
        first, second = (set[bytes]().union(*found) for found in seen.values())
        assert not first & second


async def test_keys_with_an_older_device_list_than_the_known_one_are_not_used(tmp_path: Path) -> None:
    async with relays_of(tmp_path, 1) as (network, _):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
            another = crypto.DeviceKeys.generate(alice.own.rng).public(added_at=alice.own.now())
            newer = alice.own.local.devices.adding(alice.own.account, another, now=alice.own.now())
        async with away_side(tmp_path / "bob", network, running=("contact_queues",)) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="")
            row = replace((await bob.people())["alice"], device_list=newer.encode())
            await bob.ledger.change(lambda tx, _: contacts.save(tx, row))
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.until("alice", lambda row: "older list" in (row.reason or ""))
            assert not await bob.ledger.read(lambda tx: tx.all("SELECT id FROM sessions"))


def hashes_in(command: m.Command) -> tuple[bytes, ...]:
    """What a command has a queue let in."""
    admit = command.admit if isinstance(command, m.New | m.Rot) else None
    return admit.secret_hashes if isinstance(admit, m.AdmitTokens) else ()


async def of_purpose(side: Side, purpose: Purpose) -> list[ContactQueue]:
    """The queues of one set."""
    return [queue for queue in await side.queues() if queue.purpose is purpose]


async def set_of(side: Side, queue: ContactQueue) -> SetRow:
    """The set's row."""
    row = await side.ledger.read(lambda tx: queues.get_set(tx, queue.row.set_id))
    assert row is not None
    return row


async def bundle_of(side: Side, queue: ContactQueue) -> crypto.Bundle:
    """What a newcomer gets at a queue: the bundle with a pair that was offered there."""
    offered = await side.ledger.read(
        lambda tx: tx.one("SELECT id FROM one_time_pairs WHERE queue_id = ? AND pair IS NOT NULL", (queue.row.id,))
    )
    assert offered is not None
    pair = await side.ledger.read(lambda tx: contact_stock.pair(tx, offered[0]))
    assert pair is not None
    prekeys = crypto.Prekeys.decode(await side.ledger.read(account.prekeys))
    bundle = prekeys.bundle(side.own.local, now=side.own.now())
    return bundle.with_one_time(crypto.OneTimePair.decode(pair).public(side.own.local))


def replace_pair(bundle: crypto.Bundle) -> crypto.Bundle:
    """The bundle alone."""
    return replace(bundle, one_time=None)


def request_by(side: Side, bundle: crypto.Bundle, token: bytes = b"") -> bytes:
    """An envelope with a request by somebody."""
    content = Content(side.own.rng(16), side.own.now(), ContactRequest(token, side.name, "hello"))
    _, envelope = crypto.initiate(side.own.local, bundle, encode_content(content), side.own.rng, now=side.own.now())
    return envelope
