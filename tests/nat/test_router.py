"""The router of the NAT tests does what its kinds and blocks promise: measured with plain sockets, from both sides."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.nat.conftest import require_lab
from tests.nat.lab.topology import HERE, RELAYS, ROUTERS, Lab, lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

ONE, TWO = RELAYS.values()
PORT = 5000  # of host a


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab without delay; servers that say what they see run where the relays would."""
    require_lab()
    with lab(tmp_path_factory.mktemp("router"), delay_milliseconds=0) as one, ExitStack() as stack:
        for relay in RELAYS:
            stack.enter_context(_started(one, relay, "serve"))
        yield one


@contextmanager
def _started(net: Lab, place: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = net.words(place, sys.executable, HERE / "probe.py", *words)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            if words == ("serve",):
                assert process.stdout is not None
                assert json.loads(process.stdout.readline()) == "ready"
            yield process
        finally:
            process.kill()


def probe(net: Lab, place: str, *words: str) -> Any:
    return json.loads(net.run(place, sys.executable, HERE / "probe.py", *words))


def seen(net: Lab, transport: str) -> list[Any]:
    """How both servers see one port of host a: [address, port], None where nothing comes through."""
    return list(probe(net, "a", transport, str(PORT), ONE, TWO))


def come_unasked(net: Lab) -> tuple[bool, bool]:
    """Whether a datagram, and a connection, of somebody who was not written to gets to host a's open port."""
    with _started(net, "a", "open", ONE, str(PORT)) as holder:
        assert holder.stdout is not None
        where = json.loads(holder.stdout.readline())
        ip, port = where["udp"] or where["tcp"]
        probe(net, "relay-two", "knock", ip, str(port))
        found = json.loads(holder.stdout.readline())
    return TWO in found["datagrams"], TWO in found["connections"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("kind", "one_mapping", "own_port"),
    [("cone", True, True), ("symmetric", False, False), ("carrier", True, False), ("full-cone", True, True)],
)
def test_a_kind_maps_a_port_as_it_says(net: Lab, kind: str, one_mapping: bool, own_port: bool, transport: str) -> None:
    net.router("a", "nat", kind)
    net.router("a", "block", "none")
    first, second = seen(net, transport)
    assert first[0] == second[0] == ROUTERS["a"]
    assert (first[1] == second[1]) == one_mapping
    assert (first[1] == PORT) == own_port


@pytest.mark.parametrize(("kind", "lets_in"), [("cone", False), ("symmetric", False), ("full-cone", True)])
def test_only_a_full_cone_lets_strangers_in(net: Lab, kind: str, lets_in: bool) -> None:
    net.router("a", "nat", kind)
    net.router("a", "block", "none")
    assert come_unasked(net) == (lets_in, lets_in)


def test_where_tcp_is_blocked_connections_go_out_and_none_comes_in(net: Lab) -> None:
    net.router("a", "nat", "full-cone")
    net.router("a", "block", "tcp")
    assert None not in seen(net, "tcp")
    assert come_unasked(net) == (True, False)


def test_where_udp_is_blocked_only_tcp_goes_out(net: Lab) -> None:
    net.router("a", "nat", "full-cone")
    net.router("a", "block", "udp")
    assert seen(net, "udp") == [None, None]
    assert None not in seen(net, "tcp")
    assert come_unasked(net) == (False, True)


def test_a_restart_loses_the_mapping(net: Lab) -> None:
    net.router("a", "nat", "carrier")
    net.router("a", "block", "none")
    ports = set()
    for _ in range(3):  # the new port is random, one of 10,000: once it may be the old one
        net.router("a", "restart")
        ports.add(seen(net, "udp")[0][1])
    assert len(ports) > 1


def test_silence_is_for_all_or_for_those_who_are_no_servers(net: Lab) -> None:
    net.router("a", "nat", "cone")
    net.router("a", "block", "none")
    net.router("a", "direct", "off")
    assert None not in seen(net, "udp")
    assert probe(net, "a", "udp", str(PORT), ROUTERS["b"]) == [None]
    net.router("a", "direct", "on")
    net.router("a", "all", "off")
    assert seen(net, "udp") == [None, None]
    net.router("a", "all", "on")
    assert None not in seen(net, "udp")


def test_another_address_from_the_provider_is_used_at_once(net: Lab) -> None:
    net.router("a", "nat", "cone")
    net.router("a", "block", "none")
    net.router("a", "wan", "45.50.0.111")
    try:
        assert [found[0] for found in seen(net, "tcp")] == ["45.50.0.111"] * 2
    finally:
        net.router("a", "wan", ROUTERS["a"])


def test_a_kind_that_does_not_exist_is_refused(net: Lab) -> None:
    with pytest.raises(AssertionError, match="nat is one of: cone symmetric carrier full-cone"):
        net.router("a", "nat", "round")


def test_the_lab_leaves_nothing_behind_after_a_failure(tmp_path: Path) -> None:
    require_lab()
    with ExitStack() as stack:
        one = stack.enter_context(lab(tmp_path))
        words = one.words("a", sys.executable, HERE / "probe.py", "serve")
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with pytest.raises(RuntimeError), stack.pop_all():
            raise RuntimeError("a failure in the middle")
    assert process.wait(10) != 0
    assert process.stdout is not None
    process.stdout.close()
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert one.prefix not in names
