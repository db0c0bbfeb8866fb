"""Commands that reach a relay through another one, over real connections on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.peers import peer_id_bytes, public_key_of
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_proof import forward_key_fits
from covey_relay import limits
from tests.relay.mailbox.world import MailboxRelay, mailbox_relay
from tests.support.mailbox_client import BLOB, MailboxClient, key, mid, sealed_command, verify_key

DAY = 86_400
AUTH, UNREACHABLE = m.Refused(m.Reason.AUTH), m.Refused(m.Reason.UNREACHABLE)


@dataclass
class World:
    """Alice talks to `near`, which knows `far`; Bob's queue is at `far`."""

    near: MailboxRelay
    far: MailboxRelay
    alice: MailboxClient
    bob: MailboxClient

    async def hello(self) -> m.Hello:
        return await self.alice.hello_of(self.far.host.peer_id)

    async def says(self, command: m.Command, hello: m.Hello | None = None, by: str | None = "alice") -> m.Answer:
        hello = hello or await self.hello()
        signer = None if by is None else key(by)
        return await self.alice.forwarded(self.far.host.peer_id, hello, command, signer)


@asynccontextmanager
async def world(public: Network, folder: Path) -> AsyncIterator[World]:
    async with (
        mailbox_relay(public, folder / "far.db") as far,
        mailbox_relay(public, folder / "near.db", knows=[far.host]) as near,
    ):
        yield World(near, far, await near.client(), await far.client())


async def test_a_writer_reaches_a_relay_that_never_sees_him(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        hello = await w.hello()
        assert forward_key_fits(hello, identity_key=public_key_of(w.far.host.peer_id), now=w.far.clock())
        assert await w.says(m.Put(ids.send_id, mid(1), DAY, BLOB), hello) == m.Stored(1)
        assert await w.says(m.Put(ids.send_id, mid(1), DAY, BLOB), hello) == m.Stored(1)
        assert await w.says(m.Have(ids.send_id, (mid(1), mid(2))), hello) == m.Held((mid(1),))
        assert await w.says(m.Put(ids.send_id, mid(2), DAY, BLOB), hello, by="mallory") == AUTH
        assert await w.says(m.Put(bytes(24), mid(2), DAY, BLOB), hello) == AUTH
        got = await w.bob.ask(m.Get(ids.recv_id, 0, 9), key("bob"))
        assert got == m.Messages((m.StoredMessage(1, mid(1), BLOB),))
        assert w.alice.stream.peer == w.near.host.peer_id
        seen = {connection.peer for connection in w.far.host.connections()}
        assert seen == {w.near.host.peer_id, *(one.peer_id for one in w.far.dialers)}
        assert w.near.sample("covey_mailbox_request_seconds_count", op="fwd") == 6


async def test_a_stranger_works_for_a_contact_queue_behind_a_forwarder(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitWork(0))
        assert await w.bob.ask(m.Stock(ids.recv_id, (b"one",), b"bundle"), key("bob")) == m.Done()
        hello = await w.hello()
        challenge = await w.says(m.Work(ids.send_id, m.Purpose.TAKE), hello, by=None)
        assert isinstance(challenge, m.Challenge)
        proof = w.alice.solve(challenge, mid(7))
        take = m.Take(ids.send_id, mid(7), proof)
        assert await w.says(take, hello, by=None) == m.Key(b"bundle", b"one", 0)
        assert await w.says(take, hello, by=None) == m.Refused(m.Reason.WORK)


async def test_a_subscriber_is_told_of_a_forwarded_message(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        assert await w.bob.ask(m.Sub(ids.recv_id, 0), key("bob")) == m.Done()
        assert await w.says(m.Put(ids.send_id, mid(1), DAY, BLOB)) == m.Stored(1)
        assert (await w.bob.next_push()).answer == m.Messages((m.StoredMessage(1, mid(1), BLOB),))


async def test_only_known_relays_are_reached_and_nobody_else_is_dialed(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        await w.hello()  # from now on both relays are connected
        for unknown in (Identity.generate().peer_id, w.alice.me, (await w.near.dialer()).peer_id):
            assert await w.alice.ask(m.Fwd(peer_id_bytes(unknown), b"")) == UNREACHABLE
        assert await w.alice.ask(m.Fwd(b"\x00\x01\x02", b"")) == UNREACHABLE
        # far does not know near, although near has come to it
        assert await w.bob.ask(m.Fwd(peer_id_bytes(w.near.host.peer_id), b"")) == UNREACHABLE


async def test_a_relay_that_is_away_is_unreachable_and_comes_back(public: Network, tmp_path: Path) -> None:
    identity = Identity.generate()
    async with mailbox_relay(public, tmp_path / "far.db", identity=identity) as far:
        addrs = far.host
        async with mailbox_relay(public, tmp_path / "near.db", knows=[addrs]) as near:
            alice = await near.client()
            assert isinstance(await alice.hello_of(identity.peer_id), m.Hello)
            await far.host.disconnect(near.host.peer_id)  # the next command finds a way again
            assert isinstance(await alice.hello_of(identity.peer_id), m.Hello)


async def test_what_is_not_sealed_for_the_relay_is_refused_like_a_wrong_signature(
    public: Network, tmp_path: Path
) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        hello, far = await w.hello(), peer_id_bytes(w.far.host.peer_id)
        put = m.Put(ids.send_id, mid(1), DAY, BLOB)
        _, sealed = sealed_command(w.far.host.peer_id, hello, put, key("alice"))
        changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        _, elsewhere = sealed_command(w.near.host.peer_id, hello, put, key("alice"))
        _, forbidden = sealed_command(w.far.host.peer_id, hello, m.Get(ids.recv_id, 0, 1), key("bob"))
        for one in (changed, elsewhere, forbidden, b"\x00", bytes(1_072)):
            assert await w.alice.ask(m.Fwd(far, one)) == AUTH
        assert await w.says(put, hello) == m.Stored(1)


async def test_a_signature_for_a_stream_is_worth_nothing_under_a_seal(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        put, hello = m.Put(ids.send_id, mid(1), DAY, BLOB), await w.hello()
        first, _ = sealed_command(w.far.host.peer_id, hello, put, key("alice"))
        second, sealed = sealed_command(w.far.host.peer_id, hello, put, key("alice"))
        assert first.nonce != second.nonce
        direct = await w.far.client()
        assert await direct.ask(m.Fwd(peer_id_bytes(w.far.host.peer_id), sealed)) != AUTH  # also without a forwarder


async def test_the_forward_key_is_replaced_after_a_day_and_good_for_two(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        first = await w.hello()
        assert first.forward_until == int(w.far.clock()) + 2 * DAY
        w.far.clock.now += DAY - 1
        assert (await w.hello()).forward_key == first.forward_key
        w.far.clock.now += 2
        second = await w.hello()
        assert second.forward_key != first.forward_key
        assert await w.says(m.Put(ids.send_id, mid(1), 3 * DAY, BLOB), first) == m.Stored(1)
        w.far.clock.now += DAY
        assert await w.says(m.Put(ids.send_id, mid(2), DAY, BLOB), first) == AUTH
        assert await w.says(m.Put(ids.send_id, mid(2), DAY, BLOB), second) == m.Stored(2)


async def test_a_forwarder_that_repeats_gains_nothing(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        hello, far = await w.hello(), peer_id_bytes(w.far.host.peer_id)
        _, sealed = sealed_command(w.far.host.peer_id, hello, m.Put(ids.send_id, mid(1), DAY, BLOB), key("alice"))
        assert isinstance(await w.alice.ask(m.Fwd(far, sealed)), m.Forwarded)
        assert await w.bob.ask(m.Ack(ids.recv_id, (mid(1),)), key("bob")) == m.Done()
        w.far.clock.now += 2 * DAY - 60  # the last minute of the forward key
        assert isinstance(await w.alice.ask(m.Fwd(far, sealed)), m.Forwarded)
        assert await w.bob.ask(m.Get(ids.recv_id, 0, 9), key("bob")) == m.Messages(())


async def test_a_peer_forwards_at_its_pace(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        asked = [await w.alice.send(m.Fwd(b"\x00\x01\x02", b"")) for _ in range(limits.MAILBOX_FORWARD_BURST + 40)]
        answers = [await w.alice.answer(one) for one in asked]
        busy = [one for one in answers if isinstance(one, m.Refused) and one.reason is m.Reason.BUSY]
        assert 1 <= len(busy) <= 40
        assert answers[: limits.MAILBOX_FORWARD_BURST] == [UNREACHABLE] * limits.MAILBOX_FORWARD_BURST


async def test_many_forwarded_deposits_go_over_one_stream(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        hello, far = await w.hello(), peer_id_bytes(w.far.host.peer_id)
        seals = {}
        for number in range(100):
            put = m.Put(ids.send_id, mid(number), DAY, BLOB)
            seal, sealed = sealed_command(w.far.host.peer_id, hello, put, key("alice"))
            seals[await w.alice.send(m.Fwd(far, sealed))] = seal
        answers = [await w.alice.answer(one) for one in seals]
        assert all(isinstance(one, m.Forwarded) for one in answers)
        assert len(w.far.host.connections(w.near.host.peer_id)) == 1
        assert w.far.sample("covey_mailbox_events_total", event="stored") == 100


async def test_a_silent_relay_costs_a_bounded_time(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARD_OPEN_SECONDS", 0.2)
    async with world(public, tmp_path) as w:

        async def say_nothing(stream: object) -> None:
            await trio.sleep_forever()

        w.far.host.handle(public.protocol("mailbox"), say_nothing)
        assert await w.alice.ask(m.Fwd(peer_id_bytes(w.far.host.peer_id), b"")) == UNREACHABLE
