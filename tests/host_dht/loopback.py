"""Real hosts on loopback for the DHT's tests, and a wait for what happens in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from covey_core.host import Host, HostConfig, open_host
from covey_core.host import kad_limits as limits
from covey_core.identity import Identity
from covey_core.network import Network, new_network

LISTEN = "/ip4/127.0.0.1/tcp/0"


def private_network() -> Network:
    return new_network("test", private=True, subnets=("127.0.0.0/8",))


@asynccontextmanager
async def server(network: Network, identity: Identity | None = None, listen: str = LISTEN) -> AsyncIterator[Host]:
    async with open_host(HostConfig(identity or Identity.generate(), network, listen=(listen,))) as host:
        yield host


@asynccontextmanager
async def dialer(network: Network) -> AsyncIterator[Host]:
    async with open_host(HostConfig(Identity.generate(), network)) as host:
        yield host


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for every server, however busy the machine is; what impatience does is tested on a clock of our own."""
    for name in ("PATIENCE_SECONDS", "PUT_PATIENCE_SECONDS", "REQUEST_SECONDS", "DIAL_SECONDS", "OPERATION_SECONDS"):
        monkeypatch.setattr(limits, name, 20.0)


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; it is looked at whenever all tasks have been waiting for 10 ms."""
    with trio.fail_after(20):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)
