"""What stock py-libp2p does, in a process of its own (it leaves sockets open): prints one word a question.

python -m tests.host.stock lifetime|handler
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import libp2p
import trio
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

TCP = Multiaddr("/ip4/127.0.0.1/tcp/0")


async def lifetime() -> str:
    """How many connections, one after the other, a host with two inbound slots takes in its life."""
    config = ConnectionConfig(max_connections=3, min_connections=1, low_watermark=1, high_watermark=3)
    server = libp2p.new_host(connection_config=config)
    served = 0
    async with server.run([TCP]):
        for _ in range(4):
            client = libp2p.new_host()
            network: Any = client.get_network()
            network.retry_config.max_retries = 0
            async with client.run([]):
                with trio.move_on_after(2):
                    try:
                        await network.dial_addr(server.get_addrs()[0], server.get_id())
                    except Exception:  # noqa: BLE001 - whatever upstream raises when it is refused
                        continue
                    served += 1
                await network.close()
        await server.get_network().close()
    return str(served)


async def handler() -> str:
    """Whether a host outlives one raising stream handler."""

    async def raises(stream: Any) -> None:
        raise RuntimeError("a bug")

    server = libp2p.new_host()
    client = libp2p.new_host()
    protocol = TProtocol("/test/raises/1")
    server.set_stream_handler(protocol, raises)
    state = "alive"
    try:
        async with server.run([TCP]), client.run([]):
            await client.connect(PeerInfo(server.get_id(), server.get_addrs()))
            await client.new_stream(server.get_id(), [protocol])
            with trio.move_on_after(3):
                manager: Any = server.get_network()
                await manager.get_manager().wait_finished()
            await client.get_network().close()
            await server.get_network().close()
    except* RuntimeError:
        state = "dead"
    return state


QUESTIONS: dict[str, Callable[[], Awaitable[str]]] = {"lifetime": lifetime, "handler": handler}

if __name__ == "__main__":
    sys.stdout.write(trio.run(QUESTIONS[sys.argv[1]]))  # type: ignore[arg-type]
