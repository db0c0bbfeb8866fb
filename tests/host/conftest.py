"""Hosts on loopback, one network for each kind."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import Network, new_network

TCP = "/ip4/127.0.0.1/tcp/0"
WS = "/ip4/127.0.0.1/tcp/0/ws"


@pytest.fixture
def public() -> Network:
    return new_network("public", private=False)


@pytest.fixture
def private() -> Network:
    return new_network("private", private=True)


@asynccontextmanager
async def host_on(network: Network, *listen: str, metrics: Any = None, **rest: Any) -> AsyncIterator[Host]:
    """A host with a new identity; without addresses it listens on one TCP port."""
    identity = rest.pop("identity", None) or Identity.generate()
    config = HostConfig(identity=identity, network=network, listen=listen or (TCP,), **rest)
    async with open_host(config, metrics=metrics) as host:
        yield host


async def ask_stock(question: str) -> str:
    """What stock py-libp2p answers to a question of tests/host/stock.py."""
    done = await trio.run_process(
        [sys.executable, "-W", "ignore", "-m", "tests.host.stock", question], capture_stdout=True, capture_stderr=True
    )
    return str(done.stdout.decode())
