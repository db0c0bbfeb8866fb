"""Requests to people who are away: keys from a relay, the request at all of them, opened when its owner comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from covey_core.network import Network
from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.protocol.status import ContactState
from tests.support.away import Side, away_side
from tests.support.mailbox_relays import MailboxRelay, mailbox_relay, naming
from tests.support.people import empty_network


@asynccontextmanager
async def relays_of(tmp_path: Path, count: int = 3) -> AsyncIterator[tuple[Network, list[MailboxRelay]]]:
    """A network with so many relays, each of another operator."""
    network = empty_network()
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(mailbox_relay(network, tmp_path / f"{name}.db", operator=name))
            for name in ("ann", "ben", "cat")[:count]
        ]
        yield naming(network, *found), found


async def invited(alice: Side, *, one_use: bool = True, label: str = "bob") -> str:
    """A link of alice's, with her queues in it and stocked."""
    if not await alice.queues():
        await alice.make_queues()
        await alice.stocked()
    view = await alice.acquaintance.invite(label=label, valid_seconds=3600, one_use=one_use)
    assert view.link is not None
    return view.link


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there directly, and nothing is gained by waiting for it."""
    monkeypatch.setattr(limits, "REQUEST_HEAD_START_SECONDS", 0)
    monkeypatch.setattr(limits, "REQUEST_MAILBOXES_SECONDS", 0)


async def test_a_one_use_invite_makes_a_contact_of_somebody_who_was_never_there_together(tmp_path: Path) -> None:
    async with relays_of(tmp_path) as (network, relays):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice)
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="it is me")
            await bob.until_stored("alice", 3, 3)
        async with away_side(tmp_path / "alice", network) as alice:
            outcomes = await alice.collect()
            assert [outcome.name for outcome in outcomes] == ["ACCEPTED", "DUPLICATE", "DUPLICATE"]
            assert (await alice.people())["bob"].state is ContactState.ACCEPTED
            assert not await alice.collect()
        assert sum(isinstance(one.command, m.Take) for relay in relays for one in relay.seen) == 1


async def test_an_open_invite_costs_work_and_becomes_a_request(tmp_path: Path) -> None:
    async with relays_of(tmp_path) as (network, relays):
        async with away_side(tmp_path / "alice", network) as alice:
            link = await invited(alice, one_use=False)
        async with away_side(tmp_path / "bob", network) as bob:
            await bob.acquaintance.add(link, alias="alice", intro="it is me")
            await bob.until("alice", lambda row: "working on the proof" in (row.reason or ""))
            await bob.until_stored("alice", 3, 3)
        async with away_side(tmp_path / "alice", network) as alice:
            await alice.collect()
            row = (await alice.people())["bob"]
            assert (row.state, row.intro) == (ContactState.INCOMING, "it is me")
            view = await alice.acquaintance.answer("bob", accept=True)
            assert view.state is ContactState.ACCEPTED
        puts = [one for relay in relays for one in relay.seen if isinstance(one.command, m.Put)]
        assert all(isinstance(one.command, m.Put) and isinstance(one.command.proof, m.WorkProof) for one in puts)
