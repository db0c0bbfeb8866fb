"""What relays see of whole nodes that write to each other while the other is away: who asks, for what, by which way."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from covey_core.peers import PeerId
from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.net.mailbox import Isolation
from covey_node.protocol.status import ContactState
from tests.node.service.test_never_together import at_rest, has_texts, lies_there, link_of, stored
from tests.support.mailbox_relays import MailboxRelay, mailbox_relay, naming
from tests.support.people import empty_network, in_state, running_node, say, until

OWNED = (m.New, m.Get, m.Sub, m.Ack, m.Rot, m.Del, m.Stock)
SENT = (m.Put, m.Have, m.Take, m.Work)


@pytest.mark.parametrize("isolation", ["relay", "queue"])
async def test_relays_see_no_device_no_peer_in_both_roles_and_not_where_deposits_come_from(
    tmp_path: Path, isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_HEAD_START_SECONDS", 0)
    network, among, devices = empty_network(), dict[PeerId, tuple[str, ...]](), set[PeerId]()
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(mailbox_relay(network, tmp_path / f"{name}.db", operator=name, among=among))
            for name in ("ann", "ben", "cat")
        ]
        network = naming(network, *relays)
        async with running_node(tmp_path / "alice", network, mailboxes=True, isolation=isolation) as alice:
            devices.add(alice._parts.host.peer_id)
            invite = await link_of(alice, 3)
            assert invite.link is not None
        async with running_node(tmp_path / "bob", network, mailboxes=True, isolation=isolation) as bob:
            devices.add(bob._parts.host.peer_id)
            await bob.add(invite.link, alias="alice", intro="")
            await lies_there(bob, "alice", 3, 3)
        async with running_node(tmp_path / "alice", network, mailboxes=True, isolation=isolation) as alice:
            await until(alice, lambda: in_state(alice, "bob", ContactState.ACCEPTED))
            await stored(alice, await say(alice, "bob", "not when you are"), 3)
            await at_rest(alice)
        async with running_node(tmp_path / "bob", network, mailboxes=True, isolation=isolation) as bob:
            await until(bob, lambda: has_texts(bob, "alice", "not when you are"))
        _check(relays, devices, isolation)


def _check(relays: list[MailboxRelay], devices: set[PeerId], isolation: Isolation) -> None:
    hosts = {relay.host.peer_id for relay in relays}
    everybody: list[set[PeerId]] = []
    senders: set[PeerId] = set()
    for relay in relays:
        receiving = relay.peers(*OWNED)
        sending = {one.peer for one in relay.seen if isinstance(one.command, (*SENT, m.Fwd))} - hosts
        assert receiving
        senders |= sending  # not every relay is one that forwards
        assert not receiving & sending
        assert not (receiving | sending) & devices
        everybody.append(receiving | sending)
        assert all(one.forwarded for one in relay.seen if isinstance(one.command, SENT))
        if isolation == "queue":
            _each_peer_has_one_queue(relay)
    assert senders
    assert not set.intersection(*everybody)
    assert len(set.union(*everybody)) == sum(map(len, everybody))


def _each_peer_has_one_queue(relay: MailboxRelay) -> None:
    """By what the relay itself knows: the ids it gave for a receive key."""
    keys = {one.answer.recv_id: one.command.recv_key for one in relay.seen
            if isinstance(one.command, m.New) and isinstance(one.answer, m.Ids)}  # fmt: skip
    asked: dict[PeerId, set[bytes]] = defaultdict(set)
    for one in relay.seen:
        match one.command:
            case m.New(recv_key):
                asked[one.peer].add(recv_key)
            case m.Get(recv_id) | m.Sub(recv_id) | m.Ack(recv_id) | m.Rot(recv_id) | m.Del(recv_id) | m.Stock(recv_id):
                asked[one.peer].add(keys[recv_id])
            case _:
                pass
    assert asked
    assert {len(queues) for queues in asked.values()} == {1}
