"""What the doctor finds, from parts that know, from parts that are missing, and in a node that runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from covey_core.errors import Unreachable
from covey_core.identity import Identity
from covey_core.network.scope import Scope
from covey_core.peers import PeerId, peer_id_of
from covey_node.protocol.nat_kind import NatKind
from covey_node.protocol.paths import PathKind
from covey_node.protocol.punch_log import Ending, PunchOutcome, Reason, Side
from covey_node.protocol.status import ContactState, Status
from covey_node.service.doctor import Doctor
from covey_node.service.doctor_parts import DoctorParts
from covey_node.service.path_watch import PathWatch
from covey_node.service.port import NotFound, RelayView
from covey_node.store import contacts
from covey_node.store.contacts import ContactRow
from tests.node.service.lane_world import World
from tests.node.service.test_path_watch import CIRCUIT, QUIC, RELAY, Connections
from tests.support.people import acquaint, empty_network, next_event, reaches, running_node, running_relay, say

NOW = 1.8e9
BOB_KEY = Identity.generate().public_key
BOB = peer_id_of(BOB_KEY)
HERE = "/ip4/192.168.1.5/tcp/4201"
OUTSIDE = "/ip4/9.9.9.9/tcp/4201"
HOME = RelayView("home", RELAY, connected=True, reserved_until=NOW + 1800, reason=None)


@dataclass
class OwnAddress:
    addr: str
    reachable: bool | None = None
    checked_at: float | None = None
    reason: str = ""


@dataclass
class Reachability:
    nat: str = NatKind.EASY
    found: tuple[OwnAddress, ...] = ()

    def addrs(self) -> tuple[OwnAddress, ...]:
        return self.found


@dataclass
class Mapping:
    protocol: str = "tcp"
    internal_port: int = 4201
    external_ip: str = "9.9.9.9"
    external_port: int = 4201
    via: str = "upnp"
    expires_at: float = 100.0
    addr: str = OUTSIDE


@dataclass
class PortMapper:
    found: tuple[Mapping, ...] = ()

    def mappings(self) -> tuple[Mapping, ...]:
        return self.found


@dataclass
class Kept:
    number: int
    state: str = "used"
    rtt_seconds: float | None = 0.02


class Practice:
    """A doctor and everything that it asks."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.connections = Connections()
        self.answers: list[str] = []  # why a try fails; empty: it succeeds
        self.tried: list[PeerId] = []
        self.parts = DoctorParts(
            ledger=self.world.ledger,
            scope=Scope(),
            paths=PathWatch(
                self.connections,  # type: ignore[arg-type]
                self.connections,
                now=lambda: NOW,
                operator={RELAY: "home"}.get,
            ),
            relays=lambda: (HOME,),
            listen=lambda: (f"{HERE}/p2p/{BOB}", "/ip4/192.168.1.5/udp/4201/quic-v1"),
            bootstraps=lambda: 1,
            tries=self.tries,
            now=lambda: NOW,
        )

    async def tries(self, _contact: int, peer: PeerId) -> None:
        self.tried.append(peer)
        if self.answers:
            raise Unreachable(self.answers[0])
        self.connections.open(peer, CIRCUIT)

    def doctor(self, **changes: object) -> Doctor:
        return Doctor(replace(self.parts, **changes))  # type: ignore[arg-type]

    def bob(self, state: ContactState = ContactState.ACCEPTED) -> None:
        addrs = (f"{OUTSIDE}/p2p/{BOB}", f"/ip4/198.51.100.1/tcp/4101/p2p/{RELAY}/p2p-circuit/p2p/{BOB}")
        row = ContactRow(os.urandom(32), "bob", state, 0.0, addrs=addrs)
        self.world.database.connection.run(lambda tx: contacts.add(tx, row))


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Practice]:
    one = Practice(tmp_path)
    yield one
    one.world.close()


def punch(at: float, outcome: Ending, reason: Reason | None = None) -> PunchOutcome:
    return PunchOutcome(BOB, at, Side.RECEIVER, 3, outcome, reason, 1.5, None if reason else "quic")


async def test_without_any_part_everything_is_unknown_and_nothing_is_made_up(practice: Practice) -> None:
    view = await practice.doctor().examine(None)
    assert (view.nat.kind, view.nat.udp) == ("unknown", "unknown")
    assert [(one.address, one.scope, one.reachable) for one in view.addresses] == [
        (HERE, "local", None),
        ("/ip4/192.168.1.5/udp/4201/quic-v1", "local", None),
    ]
    assert view.portmap.state == "off"
    assert view.relays == (HOME,)
    assert view.contacts == ()
    assert [one.code for one in view.advice] == ["one_relay_known"]
    assert view.healthy


async def test_what_the_parts_know_is_told(practice: Practice) -> None:
    found = (OwnAddress(f"{HERE}/p2p/{BOB}"), OwnAddress(OUTSIDE, reachable=True, checked_at=NOW - 60))
    view = await practice.doctor(
        reachability=lambda: Reachability(NatKind.NONE, found), portmap=lambda: PortMapper((Mapping(),))
    ).examine(None)
    assert (view.nat.kind, view.nat.udp) == ("none", "works")
    assert [(one.address, one.scope, one.reachable) for one in view.addresses][-1] == (OUTSIDE, "public", True)
    assert len(view.addresses) == 3
    (mapping,) = view.portmap.mappings
    assert (mapping.external, mapping.via) == (OUTSIDE, "upnp")
    assert mapping.expires_at == pytest.approx(NOW + 100 - trio.current_time(), abs=1)
    assert view.portmap.state == "mapped"


async def test_who_was_reached_over_quic_has_udp_whatever_the_nat(practice: Practice) -> None:
    found = OwnAddress("/ip4/9.9.9.9/udp/4201/quic-v1", reachable=True, checked_at=NOW)
    view = await practice.doctor(reachability=lambda: Reachability(NatKind.UNKNOWN, (found,))).examine(None)
    assert (view.nat.kind, view.nat.udp) == ("unknown", "works")


async def test_a_mapping_that_nobody_reaches_and_an_announced_address_too_are_told_as_such(practice: Practice) -> None:
    refuted = Reachability(NatKind.EASY, (OwnAddress(OUTSIDE, reachable=False, checked_at=NOW, reason="no answer"),))
    mapped = practice.doctor(reachability=lambda: refuted, portmap=lambda: PortMapper((Mapping(),)))
    view = await mapped.examine(None)
    assert "mapping_unreachable" in [one.code for one in view.advice]
    assert view.addresses[-1].reason == "no answer"
    announced = practice.doctor(reachability=lambda: refuted, announce=(OUTSIDE,))
    view = await announced.examine(None)
    assert view.advice[0].code == "announced_unreachable"
    assert not view.healthy


async def test_a_contact_is_told_with_its_paths_and_its_last_punches(practice: Practice) -> None:
    practice.bob()
    relayed = practice.connections.open(BOB, CIRCUIT)
    doctor = practice.doctor(
        reachability=lambda: Reachability(NatKind.EASY),
        punches=lambda _peer: (punch(NOW - 9, Ending.SUCCESS), punch(NOW - 5, Ending.FAILED, Reason.DIAL_TIMEOUT)),
        kept=lambda _peer: (Kept(relayed.number),),
    )
    (bob,) = (await doctor.examine(None)).contacts
    assert (bob.path, bob.transport, bob.relay) == (PathKind.RELAYED, "tcp", "home")
    assert [(one.used, one.state, one.rtt_seconds) for one in bob.paths] == [(True, "used", 0.02)]
    assert [(one.outcome, one.words) for one in bob.punches] == [
        ("failed", "no packet came through"),
        ("success", "a direct connection stands"),
    ]
    assert [one.code for one in bob.advice] == ["dial_timeout"]
    assert bob.hops == ()
    assert practice.tried == []
    hard = replace(punch(NOW - 5, Ending.FAILED, Reason.DIAL_TIMEOUT), their_nat="hard")
    told = replace(doctor._parts, punches=lambda _peer: (punch(NOW - 3, Ending.CANCELLED), hard))
    (bob,) = (await Doctor(told).examine(None)).contacts
    assert [one.code for one in bob.advice] == ["their_hard_nat"]
    practice.connections.open(BOB, QUIC)
    (bob,) = (await doctor.examine("bob")).contacts
    assert (bob.path, bob.transport, bob.relay) == (PathKind.PUNCHED, "quic", None)
    assert [one.used for one in bob.paths] == [False, True]
    assert [step.code for step in bob.hops if step.ok] == ["here", "nat", "contact", "addresses", "direct", "relayed"]
    assert bob.hops[-1].words == "stands by, for when the direct one fails"
    assert bob.advice == ()


async def test_of_two_circuits_through_one_relay_one_is_in_use(practice: Practice) -> None:
    practice.bob()
    spare, used = (practice.connections.open(BOB, CIRCUIT) for _ in range(2))
    doctor = practice.doctor(kept=lambda _peer: (Kept(spare.number, "standby"), Kept(used.number)))
    (bob,) = (await doctor.examine("bob")).contacts
    assert [(one.used, one.state) for one in bob.paths] == [(False, "standby"), (True, "used")]
    (bob,) = (await practice.doctor().examine("bob")).contacts
    assert [one.used for one in bob.paths] == [True, False]


async def test_who_is_not_connected_is_tried_when_asked_for_and_the_reason_is_told(practice: Practice) -> None:
    practice.bob()
    practice.answers = ["the relay has no slot for the contact"]
    view = await practice.doctor().examine("bob")
    assert practice.tried == [BOB]
    steps = {step.code: step for step in view.contacts[0].hops}
    assert steps["relayed"].words == "none: the relay has no slot for the contact"
    assert not view.healthy
    assert [one.code for one in view.contacts[0].advice] == ["unreached"]
    practice.answers = []
    view = await practice.doctor().examine("bob")
    assert view.contacts[0].path is PathKind.RELAYED
    assert view.healthy


async def test_nobody_is_called_who_has_not_accepted_us(practice: Practice) -> None:
    practice.bob(ContactState.REQUESTED)
    view = await practice.doctor().examine("bob")
    assert practice.tried == []
    assert [one.code for one in view.contacts[0].advice] == ["not_accepted"]
    with pytest.raises(NotFound):
        await practice.doctor().examine("nobody")


async def test_a_try_that_never_ends_is_given_up(autojump_clock: MockClock, practice: Practice) -> None:
    practice.bob()

    async def silent(_contact: int, _peer: PeerId) -> None:
        await trio.sleep_forever()

    view = await practice.doctor(tries=silent).examine("bob")
    assert trio.current_time() < 30
    assert "no answer in time" in view.contacts[0].hops[-1].words


async def test_a_running_node_knows_how_its_contact_is_reached(tmp_path: Path) -> None:
    async with (
        running_relay() as (network, _, _),
        running_node(tmp_path / "alice", network, listens=False) as alice,
        running_node(tmp_path / "bob", network, listens=False) as bob,
    ):
        await acquaint(alice, bob)
        await reaches(alice, await say(alice, "bob", "hello"), Status.DELIVERED)
        view = await alice.doctor("bob")
        assert view.healthy
        assert view.contacts[0].relay == "test"
        assert view.contacts[0].paths[0].used
        (shown,) = (await alice.status()).contacts
        assert (shown.path, shown.transport, shown.relay) == (PathKind.RELAYED, "tcp", "test")
        assert shown.since is not None


async def test_who_watches_hears_what_carries_a_new_path(tmp_path: Path) -> None:
    async with (
        running_relay() as (network, _, _),
        running_node(tmp_path / "alice", network, listens=False) as alice,
        running_node(tmp_path / "bob", network, listens=False) as bob,
        alice.events(after=None) as events,
    ):
        await acquaint(alice, bob)
        with trio.fail_after(20):
            told = (await next_event(events, "path")).data
            while told["path"] != PathKind.RELAYED:
                told = (await next_event(events, "path")).data
        assert (told["alias"], told["transport"], told["relay"]) == ("bob", "tcp", "test")


async def test_a_node_without_any_relay_says_so(tmp_path: Path) -> None:
    async with running_node(tmp_path / "alice", empty_network()) as alice:
        view = await alice.doctor(None)
        assert "no_relays_known" in [one.code for one in view.advice]
        assert view.healthy
