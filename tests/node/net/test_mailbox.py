"""The client of mailboxes against real relays on loopback: calls, subscriptions, who is seen asking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from covey_core.errors import ProtocolViolation
from covey_core.host import HostConfig, open_host
from covey_core.host.rendezvous import register, relay_namespace, serve_rendezvous
from covey_core.identity import Identity
from covey_core.network import RelayEntry
from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.net.mailbox import At, MailboxClient, MailboxUnreachable, Role, Subscribed
from covey_relay import limits as relay_limits
from covey_relay.service import open_relay_service
from tests.support.mailbox_relays import (
    BLOB,
    DAY,
    MailboxRelay,
    TestQueue,
    key,
    mailbox_relay,
    mid,
    naming,
    new_queue,
    restarting,
    running_client,
)
from tests.support.people import empty_network

NETWORK = empty_network()
OWNERS = (m.New, m.Get, m.Sub, m.Ack, m.Rot, m.Del, m.Stock)
WRITERS = (m.Put, m.Have, m.Take, m.Work)


class Mail:
    """Takes what is delivered, acknowledges it, and lets a test wait for a number of messages."""

    def __init__(self, queue: TestQueue, *more: TestQueue) -> None:
        self.queues = {one.ids.recv_id: one for one in (queue, *more)}
        self.got: list[tuple[bytes, int, bytes]] = []
        self.standing = trio.Event()
        self.refused: list[tuple[bytes, m.Refused]] = []
        self._changed = trio.Event()

    async def deliver(self, recv_id: bytes, messages: Sequence[m.StoredMessage]) -> None:
        answer = await self.queues[recv_id].own(m.Ack(recv_id, tuple(one.mid for one in messages)))
        assert answer == m.Done()
        self.got.extend((recv_id, one.seq, one.mid) for one in messages)
        self._changed.set()

    async def refuse(self, recv_id: bytes, answer: m.Refused) -> None:
        self.refused.append((recv_id, answer))

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(30):
            while len(self.got) < count:
                self._changed = trio.Event()
                await self._changed.wait()

    @classmethod
    async def listen_for(cls, queue: TestQueue, count: int) -> None:
        """Take that many messages of a queue, and stop."""
        mail = cls(queue)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mail.listen)
            await mail.wait_for(count)
            nursery.cancel_scope.cancel()

    async def listen(self) -> None:
        """Listen until the connection ends, which must be told in words."""
        first = next(iter(self.queues.values()))
        queues = [Subscribed(one.ids.recv_id, one.owner.seed) for one in self.queues.values()]
        await first.client.subscribe(first.at, queues, self.deliver, refused=self.refuse, standing=self.standing.set)


async def test_a_thousand_pipelined_deposits_are_each_stored_once_under_one_identity(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, client.relays()[0])
        seqs: list[int] = []

        async def put(number: int) -> None:
            answer = await queue.put(number)
            assert isinstance(answer, m.Stored), answer
            seqs.append(answer.seq)

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(put, number)
        assert sorted(seqs) == list(range(1, 1001))
        (writer,) = relay.peers(m.Put)
        assert len(relay.host.connections(writer)) == 1
        held = await client.call(
            queue.at,
            m.Have(queue.ids.send_id, tuple(mid(number) for number in range(900, 1100))),
            role=Role.SEND,
            seed=queue.writer.seed,
            queue=b"",
        )
        assert held == m.Held(tuple(mid(number) for number in range(900, 1000)))


async def test_what_waits_and_what_comes_is_delivered_and_may_be_acknowledged_from_there(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queues = [await new_queue(client, relay.at, name) for name in ("bob", "cyd", "dan")]
        for number in range(70):  # more than one page
            await queues[0].put(number)
        mail = Mail(*queues)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mail.listen)
            await mail.wait_for(70)
            await mail.standing.wait()
            for queue in queues:
                await queue.put(1000)
            await mail.wait_for(73)
            nursery.cancel_scope.cancel()
        assert [seq for recv_id, seq, _ in mail.got if recv_id == queues[0].ids.recv_id] == list(range(1, 72))
        assert {recv_id for recv_id, _, one in mail.got if one == mid(1000)} == {one.ids.recv_id for one in queues}
        for queue in queues:
            assert await queue.own(m.Get(queue.ids.recv_id, 0, 10)) == m.Messages(())


@pytest.mark.parametrize("isolation", ["relay", "queue"])
async def test_no_peer_that_receives_ever_sends_and_the_device_is_never_seen(tmp_path: Path, isolation: str) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay:
        device = Identity.generate()
        async with (
            open_host(HostConfig(device, NETWORK)) as host,
            running_client(naming(NETWORK, relay), isolation=isolation) as client,
        ):
            await host.connect(relay.host.peer_id, relay.host.addrs)
            queues = [await new_queue(client, relay.at, name) for name in ("bob", "cyd", "dan")]
            mail = Mail(*queues)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mail.listen)
                await mail.standing.wait()
                for queue in queues:
                    await queue.put(1)
                    await client.call(
                        relay.at, m.Work(queue.ids.send_id, m.Purpose.PUT), role=Role.SEND, seed=None,
                        queue=queue.ids.send_id,
                    )  # fmt: skip
                await mail.wait_for(3)
                nursery.cancel_scope.cancel()
            receiving, sending = relay.peers(*OWNERS), relay.peers(*WRITERS)
            assert not receiving & sending
            assert device.peer_id not in receiving | sending
            connections = {info.number: info.peer for info in relay.host.connections()}
            assert len(set(connections.values())) == len(connections)  # so no connection has two identities' commands
            if isolation == "relay":
                assert (len(receiving), len(sending)) == (1, 1)
            else:
                assert (len(receiving), len(sending)) == (3, 3)
                for peers in (receiving, sending):
                    for peer in peers:
                        named = {_queue_of(one.command, queues) for one in relay.seen if one.peer == peer}
                        assert len(named) == 1, "one peer asked for two queues"


def _queue_of(command: m.Command, queues: list[TestQueue]) -> int:
    for at, queue in enumerate(queues):
        names = {queue.ids.recv_id, queue.ids.send_id, queue.owner.public_key}
        if {getattr(command, name, b"") for name in ("recv_id", "send_id", "recv_key")} & names:
            return at
    raise AssertionError(command)


async def test_two_relays_never_see_one_peer_id(tmp_path: Path) -> None:
    async with (
        mailbox_relay(NETWORK, tmp_path / "a.db") as ann,
        mailbox_relay(NETWORK, tmp_path / "b.db", operator="bea") as bea,
        running_client(naming(NETWORK, ann, bea), forward=False) as client,
    ):
        assert [at.operator for at in client.relays()] == ["ann", "bea"]
        for relay in (ann, bea):
            queue = await new_queue(client, relay.at)
            await queue.put(1)
        assert not ann.peers() & bea.peers()


async def test_a_wrong_signature_is_an_answer_and_nothing_is_stored(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        refused = m.Refused(m.Reason.AUTH)
        assert await queue.put(1, by=key("mallory")) == refused
        unsigned = m.Put(queue.ids.send_id, mid(1), DAY, BLOB)
        assert await client.call(relay.at, unsigned, role=Role.SEND, seed=None, queue=b"") == refused
        stranger = replace(queue, owner=key("mallory"))
        assert await stranger.own(m.Get(queue.ids.recv_id, 0, 1)) == refused
        assert await stranger.own(m.Del(queue.ids.recv_id)) == refused
        assert await queue.own(m.Get(queue.ids.recv_id, 0, 1)) == m.Messages(())


async def test_a_queue_that_is_gone_is_told_and_the_others_are_listened_to(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        bob, cyd = await new_queue(client, relay.at, "bob"), await new_queue(client, relay.at, "cyd")
        await bob.own(m.Del(bob.ids.recv_id))
        mail = Mail(bob, cyd)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mail.listen)
            await mail.standing.wait()
            assert mail.refused == [(bob.ids.recv_id, m.Refused(m.Reason.AUTH))]
            await cyd.put(1)
            await mail.wait_for(1)
            nursery.cancel_scope.cancel()
        await cyd.own(m.Del(cyd.ids.recv_id))
        with pytest.raises(MailboxUnreachable, match="none of these"):
            await Mail(bob, cyd).listen()
        with pytest.raises(MailboxUnreachable, match="no queue"):
            await client.subscribe(relay.at, [], mail.deliver)


async def test_a_thousand_queues_are_subscribed_to_although_only_so_many_may_be_unanswered(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        stands = trio.Event()
        refused = 0

        async def refuse(_recv_id: bytes, _answer: m.Refused) -> None:
            nonlocal refused
            refused += 1

        unknown = [Subscribed(number.to_bytes(24, "big"), bytes(32)) for number in range(1000)]
        known = Subscribed(queue.ids.recv_id, queue.owner.seed)
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                await client.subscribe(
                    relay.at, [*unknown, known], Mail(queue).deliver, refused=refuse, standing=stands.set
                )

            nursery.start_soon(listen)
            with trio.fail_after(30):
                await stands.wait()
            nursery.cancel_scope.cancel()
        assert refused == 1000


async def test_all_who_listen_at_a_relay_share_a_stream_and_each_may_leave(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queues = [await new_queue(client, relay.at, f"person {number}") for number in range(20)]
        mails = [Mail(queue) for queue in queues]  # more than a relay lets one peer have streams
        async with trio.open_nursery() as nursery:
            scopes = []

            async def listen(mail: Mail, scope: trio.CancelScope) -> None:
                with scope:
                    await mail.listen()

            for mail in mails:
                scopes.append(trio.CancelScope())
                nursery.start_soon(listen, mail, scopes[-1])
                await mail.standing.wait()
            for queue, mail in zip(queues, mails, strict=True):
                await queue.put(1)
                await mail.wait_for(1)
            for scope in scopes[1:]:
                scope.cancel()
            await queues[5].put(2)
            await queues[0].put(2)
            await mails[0].wait_for(2)
            assert [len(mail.got) for mail in mails] == [2] + [1] * 19
            nursery.start_soon(mails[5].listen)  # who comes back gets what lies there
            await mails[5].wait_for(2)
            nursery.cancel_scope.cancel()
        (owner,) = relay.peers(m.Sub)
        assert len(relay.host.connections(owner)) == 1


async def test_who_stops_listening_within_a_delivery_holds_up_nobody_and_gets_no_other(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        bob, cyd = await new_queue(client, relay.at, "bob"), await new_queue(client, relay.at, "cyd")
        begun, begins = trio.Event(), 0

        async def stuck(_recv_id: bytes, _messages: Sequence[m.StoredMessage]) -> None:
            nonlocal begins
            begins += 1
            begun.set()
            await trio.sleep_forever()

        mail = Mail(cyd)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mail.listen)
            await mail.standing.wait()
            async with trio.open_nursery() as short:

                async def listen() -> None:
                    await client.subscribe(relay.at, [Subscribed(bob.ids.recv_id, bob.owner.seed)], stuck)

                short.start_soon(listen)
                for number in range(3):
                    await bob.put(number)
                await begun.wait()
                await cyd.put(1)
                short.cancel_scope.cancel()
            await mail.wait_for(1)
            await bob.put(9)
            await cyd.put(2)
            await mail.wait_for(2)
            assert begins == 1
            nursery.cancel_scope.cancel()


async def test_a_busy_relay_is_asked_for_the_subscription_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_limits, "MAILBOX_PATIENCE_SECONDS", 0.0)  # says BUSY instead of reading slower
    bounds = {"peer_rate": 0.8, "peer_burst": 8}  # over a second for one more: too long to be read later instead
    async with (
        mailbox_relay(NETWORK, tmp_path / "a.db", bounds=bounds) as relay,
        running_client(naming(NETWORK, relay)) as client,
    ):
        queues = [await new_queue(client, relay.at, f"person {number}") for number in range(4)]
        wanted = [Subscribed(one.ids.recv_id, one.owner.seed) for one in (*queues, *queues[:2])]
        mail = Mail(*queues)
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                await client.subscribe(relay.at, wanted, mail.deliver, refused=mail.refuse, standing=mail.standing.set)

            nursery.start_soon(listen)
            with trio.fail_after(30):
                await mail.standing.wait()
            nursery.cancel_scope.cancel()
        assert not mail.refused
        assert any(isinstance(one.answer, m.Refused) and one.answer.reason is m.Reason.BUSY for one in relay.seen)


async def test_an_error_of_the_one_who_takes_the_messages_leaves_as_it_is(tmp_path: Path) -> None:
    class DiskFull(ProtocolViolation):
        pass

    async def fail(_recv_id: bytes, _messages: Sequence[m.StoredMessage]) -> None:
        raise DiskFull("as if the database failed")

    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        await queue.put(1)
        with pytest.raises(DiskFull):
            await client.subscribe(relay.at, [Subscribed(queue.ids.recv_id, queue.owner.seed)], fail)
        assert isinstance(await queue.put(2), m.Stored)


async def test_a_relay_that_is_started_again_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAILBOX_AGAIN_SECONDS", 0)
    async with restarting(tmp_path / "a.db", NETWORK) as relays:
        first = await relays.start()
        async with running_client(naming(NETWORK, first), forward=False) as client:
            queue = await new_queue(client, first.at)
            assert await queue.put(1) == m.Stored(1)
            mail = Mail(queue)
            async with trio.open_nursery() as nursery:

                async def listen() -> None:
                    with pytest.raises(MailboxUnreachable):
                        await mail.listen()

                nursery.start_soon(listen)
                await mail.wait_for(1)
                await relays.stop()
            with pytest.raises(MailboxUnreachable):
                await queue.put(2)
            again = await relays.start()
            assert await queue.put(3) == m.Stored(2)
            assert again.peers(m.Put) == first.peers(m.Put), "the identity is this run's"


async def test_a_call_that_is_cancelled_harms_no_other(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        answers: list[m.Answer] = []

        async def put(number: int) -> None:
            answers.append(await queue.put(number))

        for turn, steps in enumerate((0, 1, 3, 10, 30, 100, 300)):  # so that each part of a call is met
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(put, turn * 1000 + number)
                async with trio.open_nursery() as given_up:
                    for number in range(100, 220):
                        given_up.start_soon(queue.put, turn * 1000 + number)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    given_up.cancel_scope.cancel()
        assert len(answers) == 140
        assert all(isinstance(one, m.Stored) for one in answers)
        (writer,) = relay.peers(m.Put)
        assert len(relay.host.connections(writer)) == 1


async def test_who_is_idle_disconnects_and_comes_back_under_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_IDLE_SECONDS", 0.05)
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        for number in (1, 2):
            assert isinstance(await queue.put(number), m.Stored)
            await _until_alone(relay)
        assert len(relay.peers(m.Put)) == 1


async def _until_alone(relay: MailboxRelay) -> None:
    with relay.host.subscribe() as events, trio.fail_after(20):
        while relay.host.connections():
            await events.receive()


async def test_a_subscription_keeps_the_connection_although_nobody_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_IDLE_SECONDS", 0.05)
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        mail = Mail(queue)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mail.listen)
            await mail.standing.wait()
            (owner,) = relay.peers(m.Sub)
            with trio.move_on_after(0.5), relay.host.subscribe() as events:
                await events.receive()
            assert [info.peer for info in relay.host.connections()] == [owner]
            await queue.put(1)
            await mail.wait_for(1)
            nursery.cancel_scope.cancel()


async def test_a_change_of_our_network_ends_every_connection_and_every_identity(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, running_client(naming(NETWORK, relay)) as client:
        queue = await new_queue(client, relay.at)
        await queue.put(1)
        mail = Mail(queue)
        ended = trio.Event()

        async def listen() -> None:
            with pytest.raises(MailboxUnreachable):
                await mail.listen()
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await mail.wait_for(1)
            before = relay.peers()
            client.network_changed()
            await ended.wait()
        relay.seen.clear()
        assert await queue.put(2) == m.Stored(2)
        await Mail.listen_for(queue, 1)
        assert len(relay.peers()) == 2
        assert not relay.peers() & before
        with relay.host.subscribe() as events, trio.fail_after(20):
            while {info.peer for info in relay.host.connections()} & before:
                await events.receive()


async def test_more_connections_than_may_be_take_the_place_of_idle_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_LINKS", 3)
    async with (
        mailbox_relay(NETWORK, tmp_path / "a.db") as relay,
        running_client(naming(NETWORK, relay), isolation="queue") as client,
    ):
        queues = [await new_queue(client, relay.at, f"person {number}") for number in range(6)]
        for queue in queues:
            assert await queue.put(1) == m.Stored(1)
        with relay.host.subscribe() as events, trio.fail_after(20):
            while len(relay.host.connections()) > 3:
                await events.receive()
        with pytest.raises(MailboxUnreachable, match="3 connections to mailboxes are in use"):
            await Mail(*queues[:4]).listen()
        assert await queues[5].put(2) == m.Stored(2)


async def test_everything_is_closed_when_the_client_ends(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay:
        async with running_client(naming(NETWORK, relay)) as client:
            queue = await new_queue(client, relay.at)
            await queue.put(1)
            assert relay.host.connections()
        await _until_alone(relay)


async def test_calls_without_a_running_client_and_beyond_the_bound_fail_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_CALL_SECONDS", 0.2)
    monkeypatch.setattr(limits, "MAILBOX_WAITING", 3)
    client = MailboxClient(NETWORK)
    command = m.Del(bytes(24))
    at = At(key("nobody").peer_id, ("/ip4/127.0.0.1/tcp/9",))
    problems: list[str] = []

    async def call() -> None:
        with pytest.raises(MailboxUnreachable) as caught:
            await client.call(at, command, role=Role.RECEIVE, seed=bytes(32), queue=b"")
        problems.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call)
    assert sorted(problem[:12] for problem in problems) == ["3 calls to t"] * 2 + ["the relay di"] * 3


async def test_a_relay_without_mailboxes_is_told_and_named_no_more(tmp_path: Path) -> None:
    identity = Identity.generate()
    async with (
        open_host(HostConfig(identity, NETWORK, ("/ip4/127.0.0.1/tcp/0",))) as host,
        open_relay_service(host, identity=identity),
        mailbox_relay(NETWORK, tmp_path / "a.db") as relay,
    ):
        network = replace(
            naming(NETWORK, relay), relays=(*naming(NETWORK, relay).relays, RelayEntry("old", host.addrs))
        )
        async with running_client(network) as client:
            assert [at.operator for at in client.relays()] == ["ann", "old"]
            with pytest.raises(MailboxUnreachable, match="serves no mailboxes"):
                await new_queue(client, client.relays()[1])
            await new_queue(client, client.relays()[0])
            assert [at.operator for at in client.relays()] == ["ann"]


async def test_where_a_relay_is_not_or_is_not_known_is_told_in_words() -> None:
    async with running_client(NETWORK) as client:
        for at in (At(key("nobody").peer_id), At(key("nobody").peer_id, ("/ip4/127.0.0.1/tcp/9",))):
            with pytest.raises(MailboxUnreachable, match=r"no connection to|no address to dial"):
                await client.call(at, m.Del(bytes(24)), role=Role.RECEIVE, seed=bytes(32), queue=b"")


async def test_addresses_outside_the_networks_scope_are_not_dialed_on_a_contacts_word() -> None:
    async with running_client(NETWORK) as client:
        at = At(key("nobody").peer_id, ("/ip4/169.254.169.254/tcp/80", "/ip4/192.0.2.1/tcp/4001"))
        with pytest.raises(MailboxUnreachable, match="no address to dial"):
            await client.call(at, m.Del(bytes(24)), role=Role.RECEIVE, seed=bytes(32), queue=b"")


async def test_calls_are_counted_by_command_and_outcome(tmp_path: Path) -> None:
    counted: list[tuple[str, str]] = []
    async with mailbox_relay(NETWORK, tmp_path / "a.db", bounds={"queue_messages": 1}) as relay:
        network = naming(NETWORK, relay)
        async with running_client(network, on_call=lambda *call: counted.append(call)) as client:
            queue = await new_queue(client, relay.at)
            await queue.put(1)
            await queue.put(2)
            await queue.put(3, by=key("mallory"))
            with pytest.raises(MailboxUnreachable):
                await client.call(At(key("a").peer_id), m.Del(bytes(24)), role=Role.RECEIVE, seed=None, queue=b"")
    assert counted == [
        ("new", "answered"),
        ("put", "answered"),
        ("put", "quota"),
        ("put", "auth"),
        ("del", "unreachable"),
    ]


async def test_subscriptions_and_forwarding_are_no_calls() -> None:
    async with running_client(NETWORK) as client:
        for command in (m.Sub(bytes(24), 0), m.Fwd(b"\0\1a", b"")):
            with pytest.raises(ProtocolViolation):
                await client.call(At(key("a").peer_id), command, role=Role.RECEIVE, seed=None, queue=b"")
        with pytest.raises(ProtocolViolation):
            await client.call(At(key("a").peer_id), m.Del(b"short"), role=Role.RECEIVE, seed=None, queue=b"")


async def test_relays_that_registered_at_a_rendezvous_point_are_found_and_asked(tmp_path: Path) -> None:
    seed, identity = Identity.generate(), Identity.generate()
    async with (
        open_host(HostConfig(seed, NETWORK, ("/ip4/127.0.0.1/tcp/0",))) as point,
        mailbox_relay(NETWORK, tmp_path / "a.db", identity=identity) as relay,
        open_relay_service(relay.host, identity=identity),
    ):
        serve_rendezvous(point, namespace=relay_namespace(NETWORK))
        await relay.host.connect(point.peer_id, point.addrs)
        await register(relay.host, identity, point.peer_id, namespace=relay_namespace(NETWORK), sequence=1)
        network = replace(NETWORK, bootstraps=point.addrs)
        async with running_client(network) as client:
            with point.subscribe() as events, trio.fail_after(20):
                while not client.relays():
                    await events.receive()
            (found,) = client.relays()
            assert (found.relay, found.operator) == (relay.host.peer_id, "")
            queue = await new_queue(client, At(found.relay))
            assert await queue.put(1) == m.Stored(1)


@asynccontextmanager
async def passing_on(relay: MailboxRelay) -> AsyncIterator[tuple[At, list[str]]]:
    """A relay as a contact may tell it: at an address of the contact's own, which notes who comes and passes on."""
    _, _, ip, _, port, *_ = relay.host.addrs[0].split("/")
    came: list[str] = []

    async def serve(stream: trio.SocketStream) -> None:
        came.append(str(stream.socket.getpeername()))
        async with stream, await trio.open_tcp_stream(ip, int(port)) as onward, trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, onward)
            nursery.start_soon(pump, onward, stream)

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        told = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}/p2p/{relay.host.peer_id}"
        yield At(relay.host.peer_id, (told,)), came
        nursery.cancel_scope.cancel()


async def test_where_the_network_says_where_a_relay_is_a_contacts_word_is_not_dialed(tmp_path: Path) -> None:
    async with mailbox_relay(NETWORK, tmp_path / "a.db") as relay, passing_on(relay) as (told, came):
        nobody_there = RelayEntry("ann", (f"/ip4/127.0.0.1/tcp/9/p2p/{relay.host.peer_id}",))
        network = replace(NETWORK, relays=(nobody_there,))
        async with running_client(network, known=lambda _relay: told.addrs) as client:
            with pytest.raises(MailboxUnreachable):
                await new_queue(client, told)
        async with running_client(naming(NETWORK, relay)) as client:
            assert await (await new_queue(client, told)).put(1) == m.Stored(1)
        assert not came
        async with running_client(NETWORK) as client:
            assert await (await new_queue(client, told, "cyd")).put(1) == m.Stored(1)
        assert came, "this one could not know better"


async def test_an_address_that_a_contact_told_carries_nothing_that_others_ask_there(tmp_path: Path) -> None:
    async with (
        mailbox_relay(NETWORK, tmp_path / "a.db") as relay,
        passing_on(relay) as (told, came),
        running_client(NETWORK) as client,
    ):
        theirs = await new_queue(client, told)
        assert await theirs.put(1) == m.Stored(1)
        seen, their_way, their_writers = relay.peers(), len(came), relay.peers(m.Put)
        ours = await new_queue(client, At(relay.host.peer_id, relay.host.addrs), "cyd")
        assert await ours.put(1) == m.Stored(1)
        assert await theirs.put(2) == m.Stored(2)
        assert len(came) == their_way
        assert len(relay.peers()) == 2 * len(seen)
        assert len(relay.peers(m.Put)) == 2 * len(their_writers) == 2
