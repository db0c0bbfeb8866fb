"""Slots at relays: what counts as one."""

import time
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from covey_core.errors import Unreachable
from covey_core.identity import Identity
from covey_core.network import RelayEntry
from covey_core.peers import PeerId
from covey_core.wire.circuit import HopMessage, HopType, Reservation, Status, encode_hop
from covey_node.net.relays import RelayClient

RELAY = Identity.generate().peer_id
ADDRS = (f"/ip4/127.0.0.1/tcp/1/p2p/{RELAY}",)


class _Stream:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def write_frame(self, _payload: bytes, *, limit: int) -> None:
        await trio.lowlevel.checkpoint()

    async def read_frame(self, *, limit: int) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._answer

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


class _Host:
    """Is connected to a relay that grants a slot until `expires_at`."""

    def __init__(self, expires_at: float) -> None:
        self.peer_id = Identity.generate().peer_id
        self._expires_at = expires_at

    def keep_both(self, _peer: PeerId) -> None:
        """Nothing to keep."""

    def handle(self, _protocol: str, _handler: Callable[..., Awaitable[None]]) -> None:
        """No circuit comes in."""

    async def connect(self, _peer: PeerId, _addrs: tuple[str, ...]) -> None:
        await trio.lowlevel.checkpoint()

    async def open_stream(self, _peer: PeerId, _protocol: str) -> _Stream:
        slot = Reservation(expires_at=int(self._expires_at), addrs=())
        return _Stream(encode_hop(HopMessage(HopType.STATUS, status=Status.OK, reservation=slot)))


def _client(expires_at: float) -> RelayClient:
    return RelayClient(_Host(expires_at), (RelayEntry("test", ADDRS),), lambda: None)  # type: ignore[arg-type]


async def test_a_slot_is_held_until_it_ends(autojump_clock: MockClock) -> None:
    client = _client(time.time() + 3600)
    await client._reserve(client.relays[RELAY])
    assert [relay.peer for relay in client.held()] == [RELAY]


async def test_a_slot_that_has_ended_already_counts_as_a_failure(
    autojump_clock: MockClock,
) -> None:
    client = _client(time.time() - 10)
    with pytest.raises(Unreachable, match="clock"):
        await client._reserve(client.relays[RELAY])
    assert not client.held()
