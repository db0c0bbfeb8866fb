"""Coming by: who lost somebody calls back."""

from pathlib import Path

import pytest
import trio

from covey_core.host import Connected, Host
from covey_node import limits
from covey_node.protocol.status import Status
from covey_node.service.node import Node
from tests.support.people import acquaint, empty_network, reaches, running_node, say


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_BACK_SECONDS", 0.05)


def host_of(node: Node) -> Host:
    return node._parts.host


async def lose(alice: Node, bob: Node) -> bool:
    """End all connections of the two who are silent; whether they come together again within 10 s."""
    with host_of(bob).subscribe() as events, trio.move_on_after(10):
        await host_of(alice).disconnect(host_of(bob).peer_id)
        async for event in events:
            if isinstance(event, Connected) and event.peer == host_of(alice).peer_id:
                return True
    return False


async def test_two_who_lost_each_other_come_together_again_without_having_anything_to_say(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        await reaches(alice, await say(alice, "bob", "hello"), Status.DELIVERED)
        assert await lose(alice, bob)


async def test_who_is_blocked_is_not_called_back(tmp_path: Path) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice, running_node(tmp_path / "bob", network) as bob:
        await acquaint(alice, bob)
        await reaches(alice, await say(alice, "bob", "hello"), Status.DELIVERED)
        await alice.block("bob")
        await bob.block("alice")
        with host_of(bob).subscribe() as events, trio.move_on_after(1):
            await host_of(alice).disconnect(host_of(bob).peer_id)
            async for event in events:
                assert not isinstance(event, Connected)
