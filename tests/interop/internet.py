"""Where the NAT tests' peers run: places of the namespace lab, with and without a home router before them."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.interop.conftest import ForeignPeer, running_peer
from tests.nat.lab.topology import Lab

PORT = 4001
LISTEN = f"/ip4/0.0.0.0/tcp/{PORT}"
QUIC = f"/ip4/0.0.0.0/udp/{PORT}/quic-v1"
OURS = (sys.executable, "-m", "tests.interop.ours")
IP = {"relay-one": "45.10.0.20", "relay-two": "45.20.0.30", "a": "45.30.0.101", "b": "45.40.0.102"}
"""Of each place, or of its router, as the others see it."""


@asynccontextmanager
async def at(internet: Lab, place: str, program: tuple[str, ...], *words: str) -> AsyncIterator[ForeignPeer]:
    """A peer that runs at a place of the lab: `words` are its role and what it listens on.

    `told` has its first words, and the address that others would dial.
    """
    async with running_peer(internet.words(place, *program, *words)) as peer:
        peer.told = await peer.hear("ready")
        way = words[1].removeprefix("/ip4/0.0.0.0/")
        peer.told["addr"] = f"/ip4/{IP[place]}/{way}/p2p/{peer.told['peer']}"
        yield peer
