"""Commands that reach a relay through another one, over real connections on loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing

from covey_core.host import Host, Stream
from covey_core.host.rendezvous import register, relay_namespace, serve_rendezvous
from covey_core.identity import Identity
from covey_core.network import Network, new_network
from covey_core.peers import peer_id_bytes, public_key_of
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import encode_hello, encode_response
from covey_core.wire.mailbox_forward import open_answer
from covey_core.wire.mailbox_proof import forward_key_fits
from covey_relay import limits
from covey_relay.service import open_relay_service
from tests.relay.conftest import TCP, host_on
from tests.relay.mailbox.world import MailboxRelay, mailbox_relay
from tests.support.circuit_client import until
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


async def test_a_stream_that_has_died_is_replaced_without_a_word(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        hello = await w.hello()
        for number in (1, 2, 3):
            await w.far.host.disconnect(w.near.host.peer_id)
            assert await w.says(m.Put(ids.send_id, mid(number), DAY, BLOB), hello) == m.Stored(number)


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


async def test_a_command_that_is_repeated_gets_its_answers_under_other_nonces(public: Network, tmp_path: Path) -> None:
    async with world(public, tmp_path) as w:
        ids = await w.bob.new("bob", m.AdmitKey(verify_key("alice")))
        hello, far = await w.hello(), peer_id_bytes(w.far.host.peer_id)
        put = m.Put(ids.send_id, mid(1), DAY, BLOB)
        seal, sealed = sealed_command(w.far.host.peer_id, hello, put, key("alice"))
        answers = [await w.alice.ask(m.Fwd(far, sealed)) for _ in range(20)]
        assert await w.bob.ask(m.Del(ids.recv_id), key("bob")) == m.Done()
        answers.append(await w.alice.ask(m.Fwd(far, sealed)))  # the same command, and other words
        carried = [one.sealed for one in answers if isinstance(one, m.Forwarded)]
        assert len({one[:12] for one in carried}) == len(answers) == 21
        assert [open_answer(seal, one) for one in carried] == [m.Stored(1)] * 20 + [AUTH]


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


async def test_a_relay_that_registered_at_a_seed_is_forwarded_to(tmp_path: Path) -> None:
    identity, home = Identity.generate(), new_network("home", private=True, subnets=("127.0.0.0/8",))
    async with host_on(home, TCP) as seed:
        serve_rendezvous(seed, namespace=relay_namespace(home))
        seeded = dataclasses.replace(home, bootstraps=seed.addrs)
        async with (
            mailbox_relay(seeded, tmp_path / "far.db", identity=identity) as far,
            open_relay_service(far.host, identity=identity),
        ):
            await far.host.connect(seed.peer_id, seed.addrs)
            await register(far.host, identity, seed.peer_id, namespace=relay_namespace(home), sequence=1)
            async with mailbox_relay(seeded, tmp_path / "near.db") as near:
                alice = await near.client()
                await until(lambda: bool(near.relays.addrs_of(identity.peer_id)))
                assert isinstance(await alice.hello_of(identity.peer_id), m.Hello)
                assert not near.relays.is_listed(identity.peer_id)


async def test_relays_that_nobody_vouched_for_are_dialed_at_a_slow_pace(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARD_DIAL_BURST", 3)
    monkeypatch.setattr(limits, "FORWARD_DIAL_RATE", 0.001)
    async with world(public, tmp_path) as w:
        victims = [Identity.generate().peer_id for _ in range(5)]
        w.near.relays._found = {one: (f"/ip4/127.0.0.1/tcp/1/p2p/{one}",) for one in victims}
        answers = [await w.alice.ask(m.Fwd(peer_id_bytes(one), b"")) for one in victims]
        assert answers == [UNREACHABLE] * 3 + [m.Refused(m.Reason.BUSY, 1)] * 2
        assert isinstance(await w.hello(), m.Hello)  # one of the network file is not held up


async def test_who_is_listed_may_ask_ten_times_what_a_peer_may(public: Network, tmp_path: Path) -> None:
    async with mailbox_relay(public, tmp_path / "near.db", peer_rate=0.001, peer_burst=256.0) as near:
        near_host = near.host
        far_knows = [near_host]
        async with mailbox_relay(public, tmp_path / "far.db", knows=far_knows, peer_rate=0.001, peer_burst=20.0) as far:
            relayed, plain = (
                await MailboxClient.open(await connected(near_host, far), far.host.peer_id),
                await far.client(),
            )
            counts = []
            for client, asked in ((relayed, 220), (plain, 40)):
                ids = [await client.send(m.Have(bytes(24), (mid(1),))) for _ in range(asked)]
                counts.append([await client.answer(one) for one in ids].count(AUTH))
            assert counts == [200, 20]


async def connected(host: Host, relay: MailboxRelay) -> Host:
    await host.connect(relay.host.peer_id, relay.host.addrs)
    return host


# --- a relay that does not do what it should --------------------------------------------------------------------------


class Rogue:
    """A relay that says its Hello and then what a test wants."""

    def __init__(self, *, answers: bytes | None, ends: bool = False) -> None:
        self.answers, self.ends = answers, ends
        self.streams = 0

    async def serve(self, stream: Stream) -> None:
        self.streams += 1
        hello = m.Hello(bytes(32), 0, bytes(32), 0, bytes(64))
        await stream.write_frame(encode_hello(hello), limit=512)
        while await stream.read_frame(limit=1 << 20) is not None:
            if self.ends:
                return
            if self.answers is not None:
                await stream.write_frame(self.answers, limit=1 << 20)


@pytest.mark.parametrize(
    "answers",
    [
        b"\xff",
        encode_response(m.Response(1, m.Stored(1))),
        encode_response(m.Response(77, m.Refused(m.Reason.AUTH))),
    ],
)
async def test_nonsense_from_another_relay_is_unreachable_and_harms_nobody(
    public: Network, tmp_path: Path, answers: bytes
) -> None:
    async with host_on(public, TCP) as far:
        far.handle(public.protocol("mailbox"), Rogue(answers=answers).serve)
        async with mailbox_relay(public, tmp_path / "near.db", knows=[far]) as near:
            alice = await near.client()
            assert await alice.ask(m.Fwd(peer_id_bytes(far.peer_id), b"")) == UNREACHABLE
            assert isinstance(await alice.new("bob", m.AdmitOpen()), m.Ids)


async def test_all_who_wait_for_a_relay_that_dies_are_told(public: Network, tmp_path: Path) -> None:
    async with host_on(public, TCP) as far:
        rogue = Rogue(answers=None)
        far.handle(public.protocol("mailbox"), rogue.serve)
        async with mailbox_relay(public, tmp_path / "near.db", knows=[far]) as near:
            alice = await near.client()
            asked = [await alice.send(m.Fwd(peer_id_bytes(far.peer_id), b"")) for _ in range(30)]
            await until(lambda: rogue.streams == 1)
            await trio.testing.wait_all_tasks_blocked(0.02)
            far.unhandle(public.protocol("mailbox"))
            await far.disconnect(near.host.peer_id)
            assert [await alice.answer(one) for one in asked] == [UNREACHABLE] * 30


async def test_a_relay_that_accepts_and_never_answers_costs_a_bounded_time(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARD_SECONDS", 0.3)
    async with host_on(public, TCP) as far:
        far.handle(public.protocol("mailbox"), Rogue(answers=None).serve)
        async with mailbox_relay(public, tmp_path / "near.db", knows=[far]) as near:
            alice = await near.client()
            for _ in range(3):
                assert await alice.ask(m.Fwd(peer_id_bytes(far.peer_id), b"")) == UNREACHABLE


async def test_a_silent_relay_is_left_alone_for_a_while(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARD_SECONDS", 0.3)
    async with host_on(public, TCP) as far:
        rogue = Rogue(answers=None)
        far.handle(public.protocol("mailbox"), rogue.serve)
        async with mailbox_relay(public, tmp_path / "near.db", knows=[far]) as near:
            alice = await near.client()
            asked = [await alice.send(m.Fwd(peer_id_bytes(far.peer_id), b"")) for _ in range(20)]
            assert [await alice.answer(one) for one in asked] == [UNREACHABLE] * 20
            assert len(near.forwarder._shares) == 0
            for _ in range(5):
                assert await alice.ask(m.Fwd(peer_id_bytes(far.peer_id), b"")) == UNREACHABLE
            assert rogue.streams == 1


async def test_a_relay_that_nobody_vouched_for_and_that_only_ends_streams_is_left_alone(
    public: Network, tmp_path: Path
) -> None:
    async with host_on(public, TCP) as far:
        rogue = Rogue(answers=None, ends=True)
        far.handle(public.protocol("mailbox"), rogue.serve)
        async with mailbox_relay(public, tmp_path / "near.db") as near:
            near.relays._found = {far.peer_id: far.addrs}
            alice = await near.client()
            for _ in range(5):
                assert await alice.ask(m.Fwd(peer_id_bytes(far.peer_id), b"")) == UNREACHABLE
            assert rogue.streams == 1


async def test_silent_relays_that_nobody_vouched_for_hold_up_nobody_else(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARDS_UNLISTED", 16)
    async with host_on(public, TCP) as one, host_on(public, TCP) as two, world(public, tmp_path) as w:
        for silent in (one, two):
            silent.handle(public.protocol("mailbox"), Rogue(answers=None).serve)
        w.near.relays._found = {silent.peer_id: silent.addrs for silent in (one, two)}
        mallory = await w.near.client()
        names = [peer_id_bytes(silent.peer_id) for silent in (one, two)]
        asked = [await mallory.send(m.Fwd(names[number % 2], b"")) for number in range(100)]
        for _ in range(100 - limits.FORWARDS_UNLISTED):
            said = await mallory.read()
            assert said is not None
            assert said.answer == m.Refused(m.Reason.BUSY, 1)
            assert said.id in asked
        assert isinstance(await w.hello(), m.Hello)


async def test_an_idle_stream_to_another_relay_ends_and_a_new_one_is_opened(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARD_IDLE_SECONDS", 0.05)
    async with world(public, tmp_path) as w:
        for _ in range(3):
            assert isinstance(await w.hello(), m.Hello)
            await until(lambda: not w.near.forwarder._links)


async def test_only_so_much_is_forwarded_at_once(
    public: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARDS", 5)
    async with host_on(public, TCP) as far:
        far.handle(public.protocol("mailbox"), Rogue(answers=None).serve)
        async with mailbox_relay(public, tmp_path / "near.db", knows=[far]) as near:
            alice, busy = await near.client(), m.Refused(m.Reason.BUSY, 1)
            asked = [await alice.send(m.Fwd(peer_id_bytes(far.peer_id), b"")) for _ in range(12)]
            answered = 0
            while answered < 7:
                said = await alice.read()
                assert said is not None
                assert said.answer == busy
                assert said.id in asked
                answered += 1
