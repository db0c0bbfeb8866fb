"""Where components listen unless they are told."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio

from covey_bootstrap.settings import BootstrapSettings
from covey_core import listening
from covey_core.host import HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import new_network
from covey_core.settings import CoveySettings
from covey_node.settings import NodeSettings
from covey_relay.settings import RelaySettings

ENDS = ("tcp/4101", "udp/4101/quic-v1", "tcp/4102/ws")


def test_ipv6_is_listened_on_beside_ipv4_where_the_machine_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "has_ipv6", lambda: True)
    ipv4, ipv6 = [f"/ip4/0.0.0.0/{end}" for end in ENDS], [f"/ip6/::/{end}" for end in ENDS]
    assert listening.everywhere(*ENDS) == (*ipv4, *ipv6)
    monkeypatch.setattr(listening, "has_ipv6", lambda: False)
    assert listening.everywhere(*ENDS) == tuple(ipv4)


@pytest.mark.parametrize("fails", ["socket", "bind"])
def test_a_kernel_that_refuses_ipv6_has_none(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    class Refusing(socket.socket):
        def __init__(self, *words: Any) -> None:
            if fails == "socket":
                raise OSError("no such family")
            super().__init__(socket.AF_INET)

        def setsockopt(self, *words: Any) -> None: ...

        def bind(self, _place: Any) -> None:
            raise OSError("cannot assign requested address")

    monkeypatch.setattr(socket, "socket", Refusing)
    assert not listening.has_ipv6()


@pytest.mark.parametrize("settings", [NodeSettings, RelaySettings, BootstrapSettings])
def test_every_component_listens_on_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, settings: Callable[[], CoveySettings]
) -> None:
    for has, kinds in ((True, {"ip4", "ip6"}), (False, {"ip4"})):
        monkeypatch.setattr(listening, "has_ipv6", lambda has=has: has)
        assert {addr.split("/")[1] for addr in settings().listen} == kinds  # type: ignore[attr-defined]


async def test_a_host_listens_on_the_same_ports_of_both_ip_versions_over_every_transport() -> None:
    try:
        with socket.socket(socket.AF_INET6) as loopback:
            loopback.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with socket.socket(socket.AF_INET6) as one, socket.socket(socket.AF_INET6) as other:
        for free in (one, other):
            free.bind(("::", 0))
        tcp, ws = one.getsockname()[1], other.getsockname()[1]
    network = new_network("test", private=True, subnets=("127.0.0.0/8", "::1/128"))
    ends = (f"tcp/{tcp}", f"udp/{tcp}/quic-v1", f"tcp/{ws}/ws")
    with trio.fail_after(20):
        async with (
            open_host(HostConfig(Identity.generate(), network, listening.everywhere(*ends))) as bob,
            open_host(HostConfig(Identity.generate(), network)) as alice,
        ):
            for ip in ("/ip4/127.0.0.1", "/ip6/::1"):
                for end in ends:
                    await alice.connect(bob.peer_id, (f"{ip}/{end}",))
                    (met,) = alice.connections(bob.peer_id)
                    assert met.remote_addr == f"{ip}/{end}"
                    await alice.disconnect(bob.peer_id)
