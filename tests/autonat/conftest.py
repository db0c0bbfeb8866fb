"""Hosts on loopback that live in a network whose outside is 127.0.0.0/8."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import Network, new_network
from covey_core.wire.direct_addr import DirectAddr

TCP = "/ip4/127.0.0.1/tcp/0"
ELSEWHERE = "/ip4/127.0.0.9/tcp/0"
"""Another address of this machine than the one that loopback connections come from."""


@pytest.fixture(params=["private", "public"])
def loopback(request: pytest.FixtureRequest) -> Network:
    """A network that lives on loopback: one with a key and admission, one without."""
    return new_network(request.param, private=request.param == "private", subnets=("127.0.0.0/8",))


@asynccontextmanager
async def host_on(network: Network, *listen: str, **rest: Any) -> AsyncIterator[Host]:
    config = HostConfig(rest.pop("identity", None) or Identity.generate(), network, listen or (TCP,), **rest)
    async with open_host(config) as host:
        yield host


def target_of(host: Host) -> DirectAddr:
    found = DirectAddr.parse(host.addrs[0])
    assert found is not None
    return found
