"""Punches and crossing dials between two real NATs, 20 ms a hop, in network namespaces."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.nat.conftest import require_lab
from tests.nat.lab.topology import KINDS, RELAYS, ROOT, Lab, lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


class Person:
    """A host behind a router, or a relay."""

    def __init__(self, net: Lab, place: str, relays: list[str], stack: ExitStack) -> None:
        words = net.words(place, sys.executable, "-W", "ignore", "-m", "tests.host.punching", *relays)
        self._process = stack.enter_context(
            subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.kill)
        self.peer, self.addrs = self.heard()

    def heard(self) -> Any:
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith(('"', "[")):
            assert line, "the host has ended"
        return json.loads(line)

    def told(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_lab()
    with lab(tmp_path_factory.mktemp("punches")) as one:
        yield one


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def pair(net: Lab, stack: ExitStack, kinds: tuple[int, int]) -> tuple[Person, Person]:
    for host, kind in zip("ab", kinds, strict=True):
        net.router(host, "nat", KINDS[kind])
    relay = Person(net, "relay-one", [], stack)
    at = RELAYS["relay-one"]
    relays = [f"/ip4/{at}/tcp/4001/p2p/{relay.peer}", f"/ip4/{at}/udp/4001/quic-v1/p2p/{relay.peer}"]
    alice, bob = (Person(net, place, relays, stack) for place in "ab")
    return alice, bob


def of(person: Person, transport: str) -> list[str]:
    return [one for one in person.addrs if f"/{transport}/" in one]


@pytest.mark.parametrize("kinds", [(1, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize(("transport", "name"), [("tcp", "tcp"), ("udp", "quic")])
def test_a_hole_is_punched_again_and_again(
    net: Lab, stack: ExitStack, kinds: tuple[int, int], transport: str, name: str
) -> None:
    """Between the same two ports, right after the last connection was closed, with either as the client."""
    people = pair(net, stack, kinds)
    for turn in range(4):
        client, server = people[:: 1 if turn % 2 else -1]
        for one, other in ((server, client), (client, server)):
            one.told(do="punch", peer=other.peer, addrs=of(other, transport), client=one is client)
        for one in people:
            assert one.heard() == [["success"], [[name, one is server, True, True]]], f"turn {turn}"
        client.told(do="hang-up", peer=server.peer)
        assert client.heard() == []
        server.told(do="hang-up", peer=client.peer)
        assert server.heard() == []


def test_tcp_is_punched_where_both_ways_are_open(net: Lab, stack: ExitStack) -> None:
    people = pair(net, stack, (1, 1))
    for one, other in (people, people[::-1]):
        one.told(do="punch", peer=other.peer, addrs=other.addrs, client=one is people[0])
    for one in people:
        outcomes, (best, *_) = one.heard()
        assert (sorted(outcomes), best[0]) == (["cancelled", "success"], "tcp")


def test_two_ordinary_dials_that_meet_on_the_way_are_noticed_and_made_again(net: Lab, stack: ExitStack) -> None:
    """Both routers let them through: one connection, two initiators. The next try leaves from another port."""
    alice, bob = pair(net, stack, (1, 4))
    for one, other in ((alice, bob), (bob, alice)):
        one.told(do="connect", peer=other.peer, addrs=of(other, "tcp"))
    said = [alice.heard(), bob.heard()]
    assert any(isinstance(one, list) and one for one in said), said


def test_a_symmetric_nat_ends_with_the_window(net: Lab, stack: ExitStack) -> None:
    people = pair(net, stack, (2, 2))
    for one, other in (people, people[::-1]):
        one.told(do="punch", peer=other.peer, addrs=other.addrs, client=one is people[0])
    for one in people:
        assert one.heard() == [["failed", "failed"], []]
