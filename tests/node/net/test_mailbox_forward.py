"""Sending by way of another relay: the mailbox's relay never sees the sender, and liars on the way gain nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from covey_core.identity import Identity
from covey_core.network import Network, RelayEntry
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import decode_request
from covey_core.wire.mailbox_proof import find_answer, signed_forward_key
from covey_node import limits
from covey_node.net.mailbox import MailboxClient, MailboxUnreachable, Role
from covey_node.protocol.mailbox_call import Asking
from covey_relay import limits as relay_limits
from tests.support.mailbox_relays import (
    HELLO,
    MailboxRelay,
    Rogue,
    TestQueue,
    key,
    mailbox_relay,
    mid,
    naming,
    new_queue,
    restarting,
    rogue_relay,
    running_client,
)
from tests.support.people import empty_network

WRITERS = (m.Put, m.Have, m.Take, m.Work)
NETWORK = empty_network()


@dataclass
class World:
    """Bob's queues are at `ann`; `bea` and `cyd`, if they are there, forward."""

    relays: list[MailboxRelay]
    among: dict[PeerId, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ann(self) -> MailboxRelay:
        return self.relays[0]

    @property
    def others(self) -> list[MailboxRelay]:
        return self.relays[1:]

    @property
    def network(self) -> Network:
        return naming(NETWORK, *self.relays)

    def went(self) -> list[bool]:
        """For each command of a writer at ann: whether it came by way of another relay."""
        return [one.forwarded for one in self.ann.seen if isinstance(one.command, WRITERS)]


@asynccontextmanager
async def world(folder: Path, *operators: str, bounds: dict[str, Any] | None = None) -> AsyncIterator[World]:
    among: dict[PeerId, tuple[str, ...]] = {}
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(
                mailbox_relay(NETWORK, folder / f"{at}.db", operator=operator, among=among, bounds=bounds)
            )
            for at, operator in enumerate(("ann", *operators))
        ]
        yield World(relays, among)


async def test_the_mailboxs_relay_sees_another_relay_in_place_of_the_sender(tmp_path: Path) -> None:
    async with world(tmp_path, "bea") as w, running_client(w.network) as client:
        queue = await new_queue(client, w.ann.at)
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(queue.put, number)
        have = m.Have(queue.ids.send_id, (mid(7), mid(100)))
        held = await client.call(w.ann.at, have, role=Role.SEND, seed=queue.writer.seed, queue=b"")
        assert held == m.Held((mid(7),))
        assert w.went() == [True] * 101
        (bea,) = w.others
        (sender,) = bea.peers()
        assert not w.ann.host.connections(sender)
        assert {type(one.command) for one in bea.seen} == {m.Fwd}
        got = await queue.own(m.Get(queue.ids.recv_id, 0, 1024))
        assert isinstance(got, m.Messages)
        assert sender not in w.ann.peers()


async def test_a_stranger_works_and_takes_a_bundle_without_being_seen(tmp_path: Path) -> None:
    async with world(tmp_path, "bea") as w, running_client(w.network) as client:
        owner = key("bob")
        new = m.New(owner.public_key, m.AdmitWork(0))
        ids = await client.call(w.ann.at, new, role=Role.RECEIVE, seed=owner.seed, queue=b"")
        assert isinstance(ids, m.Ids)
        stock = m.Stock(ids.recv_id, (b"one",), b"bundle")
        assert await client.call(w.ann.at, stock, role=Role.RECEIVE, seed=owner.seed, queue=b"") == m.Done()

        async def ask(command: m.Command) -> m.Answer:
            return await client.call(w.ann.at, command, role=Role.SEND, seed=None, queue=b"")

        challenge = await ask(m.Work(ids.send_id, m.Purpose.TAKE))
        assert isinstance(challenge, m.Challenge)
        answer = find_answer(challenge.challenge, subject=mid(1), first=0, tries=1 << 24)
        assert answer is not None
        proof = m.WorkProof(challenge.challenge, answer)
        assert await ask(m.Take(ids.send_id, mid(1), proof)) == m.Key(b"bundle", b"one", 0)
        assert w.went() == [True, True]


async def test_a_refusal_comes_back_as_it_was_said(tmp_path: Path) -> None:
    async with world(tmp_path, "bea") as w, running_client(w.network) as client:
        queue = await new_queue(client, w.ann.at)
        assert await queue.put(1, by=key("mallory")) == m.Refused(m.Reason.AUTH)
        assert w.went() == [True]


@pytest.mark.parametrize("case", ["alone", "switched off", "unknown there", "gone"])
async def test_where_nobody_forwards_the_relay_is_asked_itself(tmp_path: Path, case: str) -> None:
    async with AsyncExitStack() as stack:
        w = await stack.enter_async_context(world(tmp_path, *([] if case == "alone" else ["bea"])))
        network = w.network
        if case == "unknown there":
            del w.among[w.ann.host.peer_id]
        if case == "gone":
            away = RelayEntry("bea", (f"/ip4/127.0.0.1/tcp/9/p2p/{key('away').peer_id}",))
            network = replace(network, relays=(network.relays[0], away))
        client = await stack.enter_async_context(running_client(network, forward=case != "switched off"))
        queue = await new_queue(client, w.ann.at)
        for number in (1, 2):
            assert await queue.put(number) == m.Stored(number)
        assert w.went() == [False, False]
        asked = sum(len(other.peers()) for other in w.others)
        assert asked == (1 if case == "unknown there" else 0)


async def test_relays_of_other_people_forward_before_those_of_the_same(tmp_path: Path) -> None:
    async with world(tmp_path, "ann", "ann", "dan", "ann") as w, running_client(w.network) as client:
        queue = await new_queue(client, w.ann.at)
        for number in range(3):
            await queue.put(number)
        assert [len(other.peers()) for other in w.others] == [0, 0, 1, 0]


async def test_queues_that_are_kept_apart_are_kept_apart_at_the_forwarders_too(tmp_path: Path) -> None:
    async with world(tmp_path, "bea", "cyd") as w, running_client(w.network, isolation="queue") as client:
        for name in ("bob", "dan", "eve", "fay"):
            queue = await new_queue(client, w.ann.at, name)
            for number in (1, 2):
                await queue.put(number)
        assert w.went() == [True] * 8
        senders = [other.peers() for other in w.others]
        assert sum(len(peers) for peers in senders) == 4


async def test_a_relay_with_new_keys_is_asked_for_them_and_never_directly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_DOUBT_SECONDS_MIN", 0)
    monkeypatch.setattr(relay_limits, "FORWARD_PAUSE_SECONDS", 0)
    among = dict[PeerId, tuple[str, ...]]()
    async with (
        mailbox_relay(NETWORK, tmp_path / "b.db", operator="bea", among=among) as bea,
        restarting(tmp_path / "a.db", NETWORK, among=among) as relay,
    ):
        ann = await relay.start()
        async with running_client(naming(NETWORK, ann, bea)) as client:
            queue = await new_queue(client, ann.at)
            assert await queue.put(1) == m.Stored(1)
            went = [one.forwarded for one in ann.seen if isinstance(one.command, m.Put)]
            for number in (2, 3):
                await relay.stop()
                ann = await relay.start()
                assert await _put_in_the_end(queue, number) == m.Stored(number)
                went += [one.forwarded for one in ann.seen if isinstance(one.command, m.Put)]
    assert went == [True, True, True]


async def _put_in_the_end(queue: TestQueue, number: int) -> m.Answer:
    """The relay between may still find the old connection broken."""
    with trio.fail_after(10):
        while True:
            try:
                return await queue.put(number)
            except MailboxUnreachable:
                await trio.lowlevel.checkpoint()


async def test_a_forwarder_that_fails_for_a_moment_does_not_show_the_sender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, "bea") as w, running_client(w.network) as client:
        queue = await new_queue(client, w.ann.at)
        await queue.put(1)
        where = w.among.pop(w.ann.host.peer_id)
        monkeypatch.setattr(limits, "MAILBOX_DOUBT_SECONDS_MIN", 0)
        await w.ann.host.disconnect(w.others[0].host.peer_id)
        with pytest.raises(MailboxUnreachable, match="at the moment"):
            await queue.put(2)
        w.among[w.ann.host.peer_id] = where
        assert await queue.put(3) == m.Stored(2)
        assert w.went() == [True, True]
        del w.among[w.ann.host.peer_id]
        await w.ann.host.disconnect(w.others[0].host.peer_id)
        monkeypatch.setattr(limits, "MAILBOX_DIRECT_SECONDS", 0)
        assert await queue.put(4) == m.Stored(3)
        assert w.went() == [True, True, False]


async def test_forwarders_that_are_busy_are_an_answer_and_nothing_goes_directly(tmp_path: Path) -> None:
    bounds = {"peer_rate": 0.001, "peer_burst": 4}
    async with world(tmp_path, "bea", bounds=bounds) as w, running_client(w.network) as client:
        queue = await new_queue(client, w.ann.at)
        answers = [await queue.put(number) for number in range(6)]
        assert [type(one) for one in answers] == [m.Stored] * 3 + [m.Refused] * 3
        assert all(one.reason is m.Reason.BUSY for one in answers if isinstance(one, m.Refused))
        assert w.went() == [True] * 3


# --- liars on the way -------------------------------------------------------------------------------------------------


class Liar:
    """A relay that does not forward, but says what it likes."""

    def __init__(self, hello: m.Hello | None, sealed: bytes | None = None) -> None:
        self.hello = hello
        self.sealed = sealed
        self.asked: list[m.Fwd] = []

    async def serve(self, rogue: Rogue) -> None:
        await rogue.hello()
        while (payload := await rogue.stream.read_frame(limit=1 << 20)) is not None:
            request = decode_request(payload)
            assert isinstance(request.command, m.Fwd)
            self.asked.append(request.command)
            if not request.command.sealed and self.hello is not None:
                await rogue.answer(request.id, m.Forwarded(hello=self.hello))
            elif request.command.sealed and self.sealed is not None:
                await rogue.answer(request.id, m.Forwarded(self.sealed))
            else:
                await rogue.stream.read_some()


def own_hello(identity: Identity) -> m.Hello:
    """A liar's own forward key, well signed, but not by the relay that was asked for."""
    public = b"\x09" + bytes(31)
    return replace(
        HELLO, forward_key=public, forward_until=2_000_000_000,
        forward_signature=identity.sign(signed_forward_key(public, 2_000_000_000)),
    )  # fmt: skip


LIES = {
    "a key signed by somebody else": Liar(own_hello(key("mallory"))),
    "a key signed by nobody": Liar(HELLO),
    "a broken seal": Liar(None, bytes(3088)),
    "silence": Liar(None),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_forwarder_that_lies_is_passed_over_and_learns_nothing(
    tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_FORWARD_SECONDS", 4 if lie == "silence" else 15)
    liar = Liar(LIES[lie].hello, LIES[lie].sealed)
    async with (
        world(tmp_path, "ann") as w,  # the honest one is of ann's people too: the liar is asked first
        rogue_relay(liar.serve, network=w.network) as (network, _, _host),
        running_client(network) as client,
    ):
        queue = await new_queue(client, w.ann.at)
        if lie == "a broken seal":
            liar.hello = await _hello_of(client, w)
        for number in (1, 2):
            assert await queue.put(number) == m.Stored(number)
        assert w.went() == [True, True]
        assert liar.asked
        for one in liar.asked:
            assert one.relay == peer_id_bytes(w.ann.host.peer_id)
            assert queue.ids.send_id not in one.sealed


async def _hello_of(client: MailboxClient, w: World) -> m.Hello:
    """Ann's true hello, as anybody may have it."""
    asking = Asking.of(m.Fwd(peer_id_bytes(w.ann.host.peer_id), b""), None)
    answer = await client._ask_to_forward(w.others[0].at, asking, queue=b"", again=True)
    assert isinstance(answer, m.Forwarded)
    assert answer.hello is not None
    return answer.hello


async def test_a_key_that_may_have_been_taken_on_the_way_is_not_taken_again(tmp_path: Path) -> None:
    class Breaks(Liar):
        async def serve(self, rogue: Rogue) -> None:
            await rogue.hello()
            while True:
                request = await rogue.request()
                assert isinstance(request.command, m.Fwd)
                self.asked.append(request.command)
                if request.command.sealed:
                    return
                assert self.hello is not None
                await rogue.answer(request.id, m.Forwarded(hello=self.hello))

    liar = Breaks(None)
    async with (
        world(tmp_path, "ann") as w,
        rogue_relay(liar.serve, network=w.network) as (network, _, _host),
        running_client(network) as client,
    ):
        queue = await new_queue(client, w.ann.at)
        liar.hello = await _hello_of(client, w)
        take = m.Take(queue.ids.send_id, mid(1))
        with pytest.raises(MailboxUnreachable, match="a key may have been taken"):
            await client.call(w.ann.at, take, role=Role.SEND, seed=queue.writer.seed, queue=b"")
        assert len([one for one in liar.asked if one.sealed]) == 1
        assert w.went() == []
        assert await queue.put(1) == m.Stored(1)  # by the other one
        assert w.went() == [True]


async def test_a_forward_key_that_is_over_is_not_used(tmp_path: Path) -> None:
    async with world(tmp_path, "bea") as w, running_client(w.network, now=lambda: 4e9) as client:
        queue = await new_queue(client, w.ann.at)
        assert await queue.put(1) == m.Stored(1)
        assert w.went() == [False]
