"""Whole nodes that are never there at one time: from the link to the first messages, over real relays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from covey_core.network import Network, RelayEntry
from covey_node import limits
from covey_node.protocol.status import ContactState
from covey_node.service.node import Node
from covey_node.service.port import InviteView, NotFound
from covey_node.store.tx import Tx
from tests.support.mailbox_relays import MailboxRelay, mailbox_relay, naming
from tests.support.people import empty_network, in_state, people, running_node, running_relay, say, texts, until


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there directly, and nothing is gained by waiting for it; nor does this machine's network matter."""
    monkeypatch.setattr(limits, "REQUEST_HEAD_START_SECONDS", 0)
    monkeypatch.setattr(limits, "INTERFACES_LOOK_SECONDS", 3_600)


@asynccontextmanager
async def three_relays(tmp_path: Path, *, dead: int = 0) -> AsyncIterator[tuple[Network, list[MailboxRelay]]]:
    """A network of three relays, of which some have never been there."""
    network = empty_network()
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(mailbox_relay(network, tmp_path / f"{name}.db", operator=name))
            for name in ("ann", "ben", "cat")[dead:]
        ]
        gone = []
        for name in ("ann", "ben", "cat")[:dead]:
            async with mailbox_relay(network, tmp_path / f"{name}.db", operator=name) as relay:
                gone.append(RelayEntry(name, relay.host.addrs))
        whole = naming(network, *found)
        yield replace(whole, relays=(*gone, *whole.relays)), found


async def link_of(node: Node, relays: int, *, one_use: bool = True) -> InviteView:
    """A link, once the queues for it stand and are stocked at so many relays."""
    queues = node._parts.mailboxes.contact_queues
    assert queues is not None

    async def ready() -> bool:
        found = await queues.invite_set(one_use=one_use)
        return found is not None and len(found.replicas) == relays and await queues.is_stocked()

    with trio.fail_after(30):
        while not await ready():
            with trio.move_on_after(0.2):
                await queues.progress()
    return await node.invite(label="bob", valid_seconds=3600, one_use=one_use)


async def lies_there(node: Node, alias: str, copies: int, of: int) -> None:
    """Wait until a request lies at so many relays."""
    words = f"lies at {copies} of {of}"

    async def so() -> bool:
        found = (await people(node)).get(alias)
        return found is not None and words in (found.reason or "")

    await until(node, so)


@pytest.mark.parametrize("dead", [0, 1])
async def test_two_who_are_never_there_together_become_contacts_and_talk(tmp_path: Path, dead: int) -> None:
    living = 3 - dead
    async with three_relays(tmp_path, dead=dead) as (network, _):
        async with running_node(tmp_path / "alice", network, mailboxes=True) as alice:
            invite = await link_of(alice, living)
            assert invite.link is not None
        async with running_node(tmp_path / "bob", network, mailboxes=True) as bob:
            await bob.add(invite.link, alias="alice", intro="")
            await say(bob, "alice", "are you there?")
            await lies_there(bob, "alice", living, living)
        async with running_node(tmp_path / "alice", network, mailboxes=True) as alice:
            await until(alice, lambda: in_state(alice, "bob", ContactState.ACCEPTED))
            await stored(alice, await say(alice, "bob", "not when you are"), living)
            await at_rest(alice)
        async with running_node(tmp_path / "bob", network, mailboxes=True) as bob:
            await until(bob, lambda: in_state(bob, "alice", ContactState.ACCEPTED))
            await until(bob, lambda: has_texts(bob, "alice", "are you there?", "not when you are"))
            await at_rest(bob)
        async with running_node(tmp_path / "alice", network, mailboxes=True) as alice:
            await until(alice, lambda: has_texts(alice, "bob", "not when you are", "are you there?"))


async def test_an_open_invite_waits_for_its_owners_word_and_the_answer_finds_its_way(tmp_path: Path) -> None:
    async with three_relays(tmp_path) as (network, _):
        async with running_node(tmp_path / "alice", network, mailboxes=True) as alice:
            invite = await link_of(alice, 3, one_use=False)
            assert invite.link is not None
        async with running_node(tmp_path / "bob", network, mailboxes=True) as bob:
            await bob.add(invite.link, alias="alice", intro="it is me")
            await lies_there(bob, "alice", 3, 3)
        async with running_node(tmp_path / "alice", network, mailboxes=True) as alice:
            await until(alice, lambda: in_state(alice, "bob", ContactState.INCOMING))
            await alice.accept("bob", alias=None)
            await stored(alice, await say(alice, "bob", "hello"), 3)
        async with running_node(tmp_path / "bob", network, mailboxes=True) as bob:
            await until(bob, lambda: has_texts(bob, "alice", "hello"))


async def stored(node: Node, message: str, copies: int) -> None:
    """Wait until a message of ours lies at so many relays."""

    async def so() -> bool:
        found = await node.message(message)
        return found.copies is not None and found.copies.stored == copies

    await until(node, so)


async def at_rest(node: Node) -> None:
    """Wait until our queues are told, and all that waits for somebody lies at relays: now one may go."""
    changed = trio.Event()
    node._ledger.follow(lambda _effects: changed.set())

    def rests(tx: Tx) -> bool:
        untold = tx.number(  # a contact without any set is the first of these: whoever leaves now cannot be written to
            "SELECT count(*) FROM contacts WHERE state = 'accepted' AND NOT EXISTS (SELECT 1 FROM queue_sets "
            "JOIN queue_told ON set_id = queue_sets.id AND queue_told.number = queue_sets.number "
            "WHERE queue_sets.contact_id = contacts.id AND NOT stale)"
        )
        here = tx.number(
            "SELECT count(*) FROM deliveries WHERE (SELECT count(*) FROM deposits WHERE delivery = deliveries.id "
            "AND stored_at IS NOT NULL) < 2"
        )
        return untold + here == 0

    with trio.fail_after(30):
        while not await node._ledger.read(rests):
            changed = trio.Event()
            with trio.move_on_after(1):
                await changed.wait()


async def has_texts(node: Node, contact: str, *wanted: str) -> bool:
    """Whether the history has these texts, in any order."""
    return sorted(filter(None, await texts(node, contact))) == sorted(wanted)


async def test_a_public_profile_is_found_by_the_accounts_key_while_its_owner_is_off(tmp_path: Path) -> None:
    async with three_relays(tmp_path) as (network, _), running_relay(network) as (whole, _, _):
        async with running_node(tmp_path / "alice", whole, mailboxes=True) as alice:
            await link_of(alice, 3, one_use=False)
            view = await alice.publish_profile(published=True)
            assert (view.wanted, view.holders > 0, view.mailboxes) == (True, True, 3)
        async with running_node(tmp_path / "bob", whole, mailboxes=True) as bob:
            await bob.add(view.account, alias="alice", intro="found you")
            await lies_there(bob, "alice", 3, 3)
        async with running_node(tmp_path / "alice", whole, mailboxes=True) as alice:
            await until(alice, lambda: in_state(alice, "bob", ContactState.INCOMING))
            assert not (await alice.publish_profile(published=False)).wanted
        async with running_node(tmp_path / "eve", whole, mailboxes=True) as eve:
            with pytest.raises(NotFound, match="no public profile"):
                await eve.add(view.account, alias=None, intro="")
