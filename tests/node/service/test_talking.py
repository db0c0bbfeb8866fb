"""Two people talk: over a direct connection and through a relay, with everything a message can be."""

from pathlib import Path

import pytest

from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status
from covey_node.service.port import Refused
from tests.support.people import (
    acquaint,
    empty_network,
    people,
    reaches,
    running_node,
    running_relay,
    say,
    texts,
    until,
)


async def test_two_people_talk_directly(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        sent = await reaches(alice, await say(alice, "bob", "hello"), Status.DELIVERED)
        assert sent.path is not None
        assert sent.path is not PathKind.RELAYED
        await reaches(bob, await say(bob, "alice", "hi"), Status.DELIVERED)
        assert await texts(bob, "alice") == ["hello", "hi"]
        assert await texts(alice, "bob") == ["hello", "hi"]


async def test_two_people_talk_through_the_relay(tmp_path: Path) -> None:
    async with (
        running_relay() as (network, service, _),
        running_node(tmp_path / "alice", network, listens=False) as alice,
        running_node(tmp_path / "bob", network, listens=False) as bob,
    ):
        await acquaint(alice, bob)
        sent = await reaches(alice, await say(alice, "bob", "hello"), Status.DELIVERED)
        assert sent.path is PathKind.RELAYED
        await reaches(bob, await say(bob, "alice", "hi"), Status.DELIVERED)
        assert await texts(bob, "alice") == ["hello", "hi"]
        assert service.circuits >= 1
        assert (await alice.ping("bob")).path is PathKind.RELAYED


async def test_a_message_is_read_answered_and_changed_on_both_sides(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        first = await say(alice, "bob", "helo")
        await reaches(alice, first, Status.DELIVERED)
        assert (await people(bob))["alice"].unread == 1
        assert await bob.mark_read("alice") == 1
        await reaches(alice, first, Status.READ)
        assert (await people(bob))["alice"].unread == 0

        answer = await bob.send("alice", "hm?", reply_to=first[:8], disappear_seconds=None)
        assert answer.reply_to == first
        await reaches(bob, answer.id, Status.DELIVERED)
        assert (await alice.message(answer.id)).reply_to == first

        await bob.react(first, "👍")
        await until(alice, lambda: _reacted(alice, first, ("bob", "👍")))
        await bob.react(first, "")
        await until(alice, lambda: _reacted(alice, first, None))

        await alice.edit(first, "hello")
        await until(bob, lambda: _has_text(bob, first, "hello"))
        assert (await bob.message(first)).edited
        with pytest.raises(Refused):
            await bob.edit(first, "not mine")

        await alice.delete(first)
        await until(bob, lambda: _has_text(bob, first, None))
        assert (await bob.message(first)).deleted
        assert (await alice.message(first)).status is Status.READ


async def test_a_disappearing_message_goes_on_both_sides(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        sent = await alice.send("bob", "soon gone", reply_to=None, disappear_seconds=1)
        await reaches(alice, sent.id, Status.DELIVERED)
        assert await texts(bob, "alice") == ["soon gone"]
        await until(alice, lambda: _has_text(alice, sent.id, None))
        assert (await bob.message(sent.id)).text == "soon gone"  # its time begins when it is read
        await bob.mark_read("alice")
        await until(bob, lambda: _has_text(bob, sent.id, None))


async def test_a_long_text_arrives_whole_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        long = "ä" * (24 * 1024)
        await reaches(alice, await say(alice, "bob", long), Status.DELIVERED)
        assert await texts(bob, "alice") == [long]
        with pytest.raises(Refused, match="in parts"):
            await say(alice, "bob", long + "ä")
        with pytest.raises(Refused, match="empty"):
            await say(alice, "bob", "  ")


async def test_both_see_the_same_safety_number_and_verification_is_the_users(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        ours, theirs = await alice.verify("bob"), await bob.verify("alice")
        assert ours.safety_number == theirs.safety_number
        assert len(ours.safety_number) == 60
        assert not ours.verified
        assert (await alice.set_verified("bob", verified=True)).verified
        assert not (await bob.verify("alice")).verified


async def test_many_messages_at_once_arrive_once_and_in_order(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        wanted = [f"message {number}" for number in range(300)]
        ids = [await say(alice, "bob", text) for text in wanted]
        for message in ids:
            await reaches(alice, message, Status.DELIVERED)
        assert await texts(bob, "alice") == wanted


async def _has_text(node: object, message: str, text: str | None) -> bool:
    return (await node.message(message)).text == text  # type: ignore[attr-defined]


async def _reacted(node: object, message: str, reaction: tuple[str, str] | None) -> bool:
    found = [(item.author, item.emoji) for item in (await node.message(message)).reactions]  # type: ignore[attr-defined]
    return found == ([] if reaction is None else [reaction])
