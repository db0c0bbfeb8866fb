"""One end of a bulk transfer: three hosts, one reached over TCP, one over QUIC and one through the relay.

Owns: the hosts, the bytes. Sender and receiver are a process each; the relay is a third one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import trio

from benchmarks.answering import answer_questions
from covey_core.host import Host, HostConfig, Stream, open_host
from covey_core.identity import Identity
from covey_core.logs import setup_logging
from covey_core.network import Network, load_network
from covey_core.peers import PeerId
from covey_node.net.relays import RelayClient

PROTOCOL = "/covey-bench/sink/1"
CHUNK_BYTES = 64 * 1024
LISTEN = ("/ip4/127.0.0.1/tcp/0",)
LISTEN_QUIC = ("/ip4/127.0.0.1/udp/0/quic-v1",)


class Streamer:
    """Answers the benchmark's questions."""

    def __init__(self, network: Network, direct: Host, quic: Host, relayed: Host, client: RelayClient) -> None:
        self._network = network
        self._hosts = {"direct": direct, "quic": quic, "relayed": relayed}
        self._client = client
        for host in self._hosts.values():
            host.handle(PROTOCOL, _sink)

    async def reserved(self) -> dict[str, object]:
        """Wait for a place at the relay; return where the hosts are."""
        while not self._client.held():
            await self._client.wait_change()
        return {way: [host.peer_id, list(host.addrs)] for way, host in self._hosts.items()}

    async def connect(
        self, direct: tuple[str, list[str]], quic: tuple[str, list[str]], relayed: tuple[str, list[str]]
    ) -> bool:
        """Connect the hosts to those of the other process."""
        await self._hosts["direct"].connect(PeerId(direct[0]), direct[1])
        await self._hosts["quic"].connect(PeerId(quic[0]), quic[1])
        (relay,) = self._client.relays.values()
        await self._client.dial(relay.peer, relay.addrs, PeerId(relayed[0]))
        return all(one.relayed for one in self._hosts["relayed"].connections(PeerId(relayed[0])))

    async def send(self, way: str, peer: str, count: int) -> float:
        """Send `count` bytes over one stream; return the seconds until the other end had counted them."""
        stream = await self._hosts[way].open_stream(PeerId(peer), PROTOCOL)
        chunk = bytes(CHUNK_BYTES)
        begun = time.monotonic()
        for _ in range(count // CHUNK_BYTES):
            await stream.write(chunk)
        await stream.close_write()
        answer = await stream.read_frame(limit=8)
        seconds = time.monotonic() - begun
        assert answer == count.to_bytes(8, "big"), answer
        await stream.close()
        return seconds


async def _sink(stream: Stream) -> None:
    count = 0
    while data := await stream.read_some(CHUNK_BYTES):
        count += len(data)
    await stream.write_frame(count.to_bytes(8, "big"), limit=8)
    await stream.close()


async def main(network_file: Path) -> None:
    network = load_network(network_file)
    async with (
        open_host(HostConfig(Identity.generate(), network, LISTEN)) as direct,
        open_host(HostConfig(Identity.generate(), network, LISTEN_QUIC)) as quic,
        open_host(HostConfig(Identity.generate(), network)) as relayed,
        trio.open_nursery() as nursery,
    ):
        client = RelayClient(relayed, network.relays, lambda: None)
        nursery.start_soon(client.run)
        streamer = Streamer(network, direct, quic, relayed, client)
        await answer_questions({"reserved": streamer.reserved, "connect": streamer.connect, "send": streamer.send})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    setup_logging(level="warning", json=True)
    trio.run(main, Path(sys.argv[1]))
