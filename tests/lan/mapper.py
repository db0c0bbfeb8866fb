"""Run behind a router: maps ports that answer each word with `echo of WORD`; tells of each step as a line of JSON.

The argument is JSON: ports, lease_seconds, only (ways of asking). The end of standard input ends it as a signal would.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import trio

from covey_core.network.scope import Scope
from covey_node import limits
from covey_node.net.portmap import PortMapper, methods
from covey_node.net.portmap_gateway import Gateway
from covey_node.net.portmap_udp import Method
from covey_node.protocol.portmap import Granted, Port, PortmapFailed, Protocol

sys.modules["covey_node.limits"].PORTMAP_CHECK_SECONDS = 1  # type: ignore[attr-defined]
sys.modules["covey_node.limits"].PORTMAP_AGAIN_SECONDS = 1  # type: ignore[attr-defined]


def tell(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)  # noqa: T201


class Telling:
    """A way of asking that tells when it gave something."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.via = method.via
        self.unmap = method.unmap

    async def map(self, port: Port, wanted: Granted | None, /) -> Granted:
        try:
            granted = await self._method.map(port, wanted)
        except PortmapFailed as exc:
            tell("refused", via=self.via, why=str(exc))
            raise
        tell("granted", via=self.via, port=f"{port.protocol} {port.number}", renewed=wanted is not None)
        return granted

    async def has_lost(self, port: Port, granted: Granted, /) -> bool:
        lost = await self._method.has_lost(port, granted)
        tell("checked", lost=lost)
        return lost


async def echo_tcp(stream: trio.SocketStream) -> None:
    async for word in stream:
        await stream.send_all(b"echo of " + word)


async def echo_udp(number: int) -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
        await udp.bind(("", number))
        while True:
            word, sender = await udp.recvfrom(100)
            await udp.sendto(b"echo of " + word, sender)


async def main() -> None:
    wanted = json.loads(sys.argv[1])
    ports = tuple(Port(Protocol(protocol), number) for protocol, number in wanted["ports"])

    def make(gateway: Gateway) -> tuple[Method, ...]:
        every = methods(gateway, secret=bytes(32), lease_seconds=wanted["lease_seconds"])
        return tuple(Telling(method) for method in every if method.via in wanted["only"])

    def changed() -> None:
        mappings = [
            [str(one.protocol), one.internal_port, one.external_ip, one.external_port, str(one.via)]
            for one in mapper.mappings()
        ]
        tell("changed", mappings=mappings, addrs=mapper.addrs(), problem=mapper.problem)

    mapper = PortMapper(lambda: ports, scope=Scope(), secret=bytes(32), changed=changed, make_methods=make)
    async with trio.open_nursery() as nursery:
        for port in ports:
            if port.protocol is Protocol.TCP:
                serve: Any = partial(trio.serve_tcp, echo_tcp, port.number)
            else:
                serve = partial(echo_udp, port.number)
            nursery.start_soon(serve)
        nursery.start_soon(mapper.run)
        await trio.wrap_file(Path("/dev/stdin").open()).read()  # noqa: ASYNC230, SIM115
        nursery.cancel_scope.cancel()
    tell("ended", mappings=len(mapper.mappings()), problem=mapper.problem)


assert limits.PORTMAP_CHECK_SECONDS == 1
trio.run(main)
