"""Many clients of one relay in one process: each has a connection and a reservation of its own, and does nothing else.

Owns: the clients. Everything of theirs is real: hosts, TCP on loopback, Noise, Yamux, the network's admission.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from benchmarks.answering import answer_questions
from covey_core.host import Host, HostConfig, Stream, open_host
from covey_core.identity import Identity
from covey_core.lifecycle import TaskStatus
from covey_core.limits import CIRCUIT_MESSAGE_BYTES
from covey_core.logs import setup_logging
from covey_core.network import Network, load_network
from covey_core.peers import PeerId
from covey_core.wire.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    CircuitPeer,
    HopMessage,
    HopType,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    encode_hop,
    encode_stop,
)

AT_ONCE = 8
QUIET_SECONDS = 3600.0
"""The clients do not ask whether the relay lives; the relay asks them, as ever."""


class Crowd:
    """Answers the benchmark's questions."""

    def __init__(self, network: Network, nursery: trio.Nursery) -> None:
        self._network = network
        self._nursery = nursery
        self._hosts: list[Host] = []
        self._scopes: list[trio.CancelScope] = []
        self._circuits: list[Stream] = []
        self._slots = trio.CapacityLimiter(AT_ONCE)
        (self._relay,) = network.relays

    async def reserve(self, count: int) -> int:
        """Bring `count` more clients up; return how many there are."""
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self._one)
        return len(self._hosts)

    async def circuits(self, count: int) -> int:
        """Open `count` more idle circuits between neighbours; return how many there are."""
        async with trio.open_nursery() as nursery:
            for at in range(len(self._circuits), len(self._circuits) + count):
                nursery.start_soon(self._circuit, self._hosts[at], self._hosts[at + 1])
        return len(self._circuits)

    async def leave(self, count: int) -> int:
        """Let `count` clients go without a word to the relay but the end of their connections."""
        for scope in self._scopes[-count:]:
            scope.cancel()
        del self._scopes[-count:], self._hosts[-count:]
        return len(self._hosts)

    async def _one(self) -> None:
        async with self._slots:
            host: Host = await self._nursery.start(self._live)
            peer = self._peer
            await host.connect(peer, self._relay.addrs)
            answer, stream = await _ask(host, peer, HopMessage(HopType.RESERVE))
            await stream.close()
            if answer.status is not Status.OK:
                raise AssertionError(f"the relay answered {answer.status}")
            self._hosts.append(host)

    async def _live(self, *, task_status: TaskStatus[Host]) -> None:
        config = HostConfig(Identity.generate(), self._network, liveness_interval_seconds=QUIET_SECONDS)
        with trio.CancelScope() as scope:
            async with open_host(config) as host:
                self._scopes.append(scope)
                host.handle(STOP_PROTOCOL, _accept)
                task_status.started(host)
                await trio.sleep_forever()

    async def _circuit(self, source: Host, target: Host) -> None:
        async with self._slots:
            message = HopMessage(HopType.CONNECT, peer=CircuitPeer(target.peer_id))
            answer, stream = await _ask(source, self._peer, message)
            if answer.status is not Status.OK:
                raise AssertionError(f"the relay answered {answer.status}")
            self._circuits.append(stream)

    @property
    def _peer(self) -> PeerId:
        return PeerId(self._relay.addrs[0].rpartition("/p2p/")[2])


async def _ask(host: Host, relay: PeerId, message: HopMessage) -> tuple[HopMessage, Stream]:
    stream = await host.open_stream(relay, HOP_PROTOCOL)
    await stream.write_frame(encode_hop(message), limit=CIRCUIT_MESSAGE_BYTES)
    frame = await stream.read_frame(limit=CIRCUIT_MESSAGE_BYTES)
    assert frame is not None, "the relay closed without an answer"
    return decode_hop(frame), stream


async def _accept(stream: Stream) -> None:
    await stream.read_frame(limit=CIRCUIT_MESSAGE_BYTES)
    await stream.write_frame(encode_stop(StopMessage(StopType.STATUS, status=Status.OK)), limit=CIRCUIT_MESSAGE_BYTES)
    await trio.sleep_forever()


async def main(network_file: Path) -> None:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(load_network(network_file), nursery)
        await answer_questions({"reserve": crowd.reserve, "circuits": crowd.circuits, "leave": crowd.leave})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    setup_logging(level="warning", json=True)
    trio.run(main, Path(sys.argv[1]))
