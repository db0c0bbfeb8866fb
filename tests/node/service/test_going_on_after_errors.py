"""Errors that nobody foresaw, in any task of a node: messages are delivered all the same."""

from pathlib import Path
from typing import Any

import pytest

from covey_node import limits
from covey_node.net.keeper import Keeper
from covey_node.net.puncher import Puncher
from covey_node.net.reachability import Reachability
from covey_node.net.relays import RelayClient
from covey_node.protocol.status import Status
from covey_node.service import run
from covey_node.service.calling import Calling
from covey_node.service.lane_runner import LaneRunner
from covey_node.service.presence import Presence
from covey_node.service.records import Records
from covey_node.service.spares import Spares
from tests.node.conftest import Failures
from tests.support.people import acquaint, empty_network, reaches, running_node, say


class Broken(Exception):
    """Nobody foresaw it."""


def breaks(*_: Any, **__: Any) -> Any:
    raise Broken


@pytest.mark.parametrize(
    ("task", "place", "name"),
    [
        ("relays", RelayClient, "_ask_chosen"),
        ("keeper", Keeper, "_look_at"),
        ("paths", Keeper, "_keep"),
        ("records", Records, "run"),
        ("presence", Presence, "_show"),
        ("calling", Calling, "run"),
        ("reachability", Reachability, "_look"),
        ("spares", Spares, "look"),
        ("puncher", Puncher, "_ask_again"),
        ("interfaces", run, "watch_interfaces"),
    ],
)
async def test_messages_arrive_although_a_task_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: Failures, task: str, place: Any, name: str
) -> None:
    network = empty_network()
    async with running_node(tmp_path / "alice", network) as alice:
        async with running_node(tmp_path / "bob", network) as bob:
            await acquaint(alice, bob)
        monkeypatch.setattr(place, name, breaks)
        async with running_node(tmp_path / "bob", network) as bob:
            await reaches(bob, await say(bob, "alice", "one"), Status.DELIVERED)
            await reaches(alice, await say(alice, "bob", "two"), Status.DELIVERED)
    assert set(failures.take()) == {f"{task}: Broken"}


async def test_a_lane_that_fails_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: Failures
) -> None:
    network = empty_network()
    monkeypatch.setattr(limits, "STORE_RETRY_SECONDS", 0.01)
    async with running_node(tmp_path / "alice", network) as alice:
        async with running_node(tmp_path / "bob", network) as bob:
            await acquaint(alice, bob)
        open_lane, broken = LaneRunner._open, [True]

        async def open_once_broken(runner: LaneRunner) -> Any:
            return await open_lane(runner) if not broken else breaks(broken.clear())

        monkeypatch.setattr(LaneRunner, "_open", open_once_broken)
        async with running_node(tmp_path / "bob", network) as bob:
            await reaches(bob, await say(bob, "alice", "one"), Status.DELIVERED)
    assert failures.take() == ["lane: Broken"]
