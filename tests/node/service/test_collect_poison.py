"""A packet at which what opens it fails: it stays where it is, and the mail of others is read past it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from covey_core.wire import mailbox as m
from covey_node import limits
from covey_node.crypto.replica import ReplicaKeys
from covey_node.protocol.frames import Outcome
from covey_node.store import queues
from covey_node.store.deliveries import OutboxFull
from covey_node.store.errors import StoreClosed, StoreError, StoreFull
from covey_node.store.queues import Purpose
from covey_node.store.tx import Tx
from tests.node.conftest import Failures
from tests.node.service.collect_fakes import PACKET, FakeIncoming, World

HOUR = 3600.0
POISON = b"poison".ljust(PACKET, b"!")


class Sick(FakeIncoming):
    """Fails at one packet, for the first `times` times."""

    def __init__(self, error: Exception, times: int = 1_000_000) -> None:
        super().__init__()
        self.error = error
        self.times = times
        self.asked = 0

    async def receive_from(self, contact_id: int, packets: Sequence[bytes]) -> list[Outcome]:
        if POISON in packets:
            self.asked += 1
            if self.asked <= self.times:
                raise self.error
        return await super().receive_from(contact_id, packets)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.lanes.close()


@asynccontextmanager
async def collecting(world: World, incoming: Sick, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Collect for the length of the block, which begins when all has settled."""
    monkeypatch.setattr(world.use, "_incoming", incoming)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.collecting.run)
        await trio.sleep(5)
        yield
        nursery.cancel_scope.cancel()


def _put_for(world: World, contact: int, name: str, packet: bytes) -> None:
    """Lay a packet into another contact's queue at a relay."""

    relay = world.queues()[name].relay

    def find(tx: Tx) -> tuple[queues.QueueRow, bytes]:
        row = queues.set_for(tx, Purpose.CONTACT, contact)
        assert row is not None
        assert row.secret is not None
        [queue] = [one for one in queues.of_set(tx, row.id) if one.relay == relay]
        return queue, row.secret

    queue, secret = world.read(find)
    world.relays.put(queue, ReplicaKeys.derive(secret, queue.relay, queue.send_id or b""), packet)


@pytest.mark.parametrize("error", [RuntimeError("poison"), OutboxFull(waiting=5, limit=5)])
async def test_what_lies_behind_a_packet_that_cannot_be_taken_and_in_other_queues_is_shown(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, failures: Failures, error: Exception
) -> None:
    carol = world.lanes.contact("carol")
    incoming = Sick(error)
    before, behind, others = (os.urandom(PACKET) for _ in range(3))
    async with collecting(world, incoming, monkeypatch):
        for packet in (before, POISON, behind):
            world.put("ann", packet)
        await trio.sleep(1)
        _put_for(world, carol, "ann", others)
        await trio.sleep(1)
        assert incoming.taken == [before, behind, others]
        await trio.sleep(HOUR)
        assert incoming.asked <= 2, "with its batch and by itself, and not over and over"
        assert world.lying("ann") == 1
        poison = world.keys("ann").mid(POISON)
        acked = {mid for name in ("ann", "bea", "cat") for one in world.relays.asked(name, m.Ack) for mid in one.mids}  # type: ignore[union-attr]
        assert poison not in acked
        assert len(world.relays.times("ann", m.Sub)) == 2, "the connection has not ended for it"
    assert failures.take() == [f"mailbox packet: {type(error).__name__}"]


async def test_a_packet_that_could_not_be_taken_is_tried_again_on_the_next_connection(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, failures: Failures
) -> None:
    incoming = Sick(RuntimeError("poison"), times=1)
    async with collecting(world, incoming, monkeypatch):
        world.put("ann", POISON)
        await trio.sleep(1)
        assert incoming.taken == []
        world.relays.fail("ann")
        world.relays.down.clear()
        await trio.sleep(limits.MAILBOX_RELAY_RETRY_SECONDS_MAX)
        assert incoming.taken == [POISON]
        assert world.lying("ann") == 0
    assert failures.take() == ["mailbox packet: RuntimeError"]


@pytest.mark.parametrize("error", [StoreError("the disk failed"), StoreFull("covey.db"), StoreClosed("closed")])
async def test_while_the_database_fails_all_is_read_again_after_a_pause(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    incoming = Sick(error, times=1)
    behind = os.urandom(PACKET)
    async with collecting(world, incoming, monkeypatch):
        world.put("ann", POISON)
        world.put("ann", behind)
        await trio.sleep(1)
        assert incoming.taken == []
        await trio.sleep(2 * limits.STORE_RETRY_SECONDS)
        assert incoming.taken == [POISON, behind]
        assert world.lying("ann") == 0
