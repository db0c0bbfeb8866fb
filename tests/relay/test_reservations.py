"""The slot table against a plain dict, with time and departures as the machine likes them."""

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from covey_core.peers import PeerId
from covey_relay.limits import AddressCaps, RelayLimits
from covey_relay.reservations import Granted, Refused, ReservationRefusal, Reservations

PEERS = [PeerId(f"peer-{number}") for number in range(8)]
IPS = [None, "192.0.2.1", "192.0.2.2", "2001:db8:0:100::1", "2001:db8:0:101::1", "2001:db8:0:200::1", "2001:db8:1::1"]
CAPS = AddressCaps(ipv4=2, ipv6_56=1, ipv6_48=2)
LIMITS = RelayLimits(reservation_seconds=100.0, reservations=5, reservations_per_address=CAPS)


def prefix_56(ip: str) -> str:
    return {"2001:db8:0:100::1": "a", "2001:db8:0:101::1": "a", "2001:db8:0:200::1": "b", "2001:db8:1::1": "c"}[ip]


def prefix_48(ip: str) -> str:
    return {"a": "site-0", "b": "site-0", "c": "site-1"}[prefix_56(ip)]


def fits(ip: str | None, others: list[str]) -> bool:
    """Whether one more entry from `ip` fits beside entries from `others`, by the words of the spec."""
    if ip is None:
        return True
    if "." in ip:
        return others.count(ip) < CAPS.ipv4
    sixes = [other for other in others if ":" in other]
    in_56 = sum(prefix_56(other) == prefix_56(ip) for other in sixes)
    in_48 = sum(prefix_48(other) == prefix_48(ip) for other in sixes)
    return in_56 < CAPS.ipv6_56 and in_48 < CAPS.ipv6_48


class ReservationsMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.table = Reservations(LIMITS)
        self.model: dict[PeerId, tuple[float, str | None]] = {}
        self.now = 0.0
        self.draining = False

    def forget_expired(self) -> None:
        self.model = {peer: slot for peer, slot in self.model.items() if self.now < slot[0]}

    @rule(peer=st.sampled_from(PEERS), ip=st.sampled_from(IPS), relayed=st.booleans())
    def reserve(self, peer: PeerId, ip: str | None, relayed: bool) -> None:
        outcome = self.table.reserve(peer, ip=ip, relayed=relayed, now=self.now)
        self.forget_expired()
        others = [other_ip for other, (_, other_ip) in self.model.items() if other != peer and other_ip is not None]
        if self.draining:
            assert outcome == Refused(ReservationRefusal.DRAINING)
        elif relayed:
            assert outcome == Refused(ReservationRefusal.RELAYED)
        elif peer not in self.model and len(self.model) >= LIMITS.reservations:
            assert outcome == Refused(ReservationRefusal.TABLE_FULL)
        elif not fits(ip, others):
            assert outcome == Refused(ReservationRefusal.ADDRESS_FULL)
        else:
            assert outcome == Granted(self.now + LIMITS.reservation_seconds, renewed=peer in self.model)
            self.model[peer] = (self.now + LIMITS.reservation_seconds, ip)

    @rule(peer=st.sampled_from(PEERS))
    def leave(self, peer: PeerId) -> None:
        self.table.expire(now=self.now)
        self.forget_expired()
        assert self.table.release(peer) == (peer in self.model)
        self.model.pop(peer, None)

    @rule(seconds=st.sampled_from([1.0, 40.0, 99.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        before = set(self.model)
        gone = self.table.expire(now=self.now)
        assert set(gone) <= before
        self.forget_expired()
        assert set(self.table.holders()) == set(self.model)

    @precondition(lambda self: not self.draining and self.now > 300)
    @rule()
    def drain(self) -> None:
        self.table.drain()
        self.draining = True

    @invariant()
    def the_table_says_what_the_model_says(self) -> None:
        for peer in PEERS:
            standing = peer in self.model and self.now < self.model[peer][0]
            assert self.table.holds(peer, now=self.now) == standing
        if self.table.next_deadline() is None:
            assert not any(self.now < slot[0] for slot in self.model.values())
        elif any(self.now < slot[0] for slot in self.model.values()):
            assert self.table.next_deadline() <= min(s[0] for s in self.model.values() if self.now < s[0])


TestReservationsMachine = ReservationsMachine.TestCase


def test_a_peer_has_one_slot_however_often_it_asks() -> None:
    table = Reservations(LIMITS)
    for second in range(50):
        assert isinstance(table.reserve(PEERS[0], ip="192.0.2.1", relayed=False, now=float(second)), Granted)
    assert len(table) == 1


def test_a_refresh_lengthens_the_slot_and_a_refused_one_leaves_it() -> None:
    table = Reservations(LIMITS)
    table.reserve(PEERS[0], ip="192.0.2.1", relayed=False, now=0)
    for peer in PEERS[1:3]:
        table.reserve(peer, ip="192.0.2.2", relayed=False, now=10)
    assert table.reserve(PEERS[0], ip="192.0.2.2", relayed=False, now=20) == Refused(ReservationRefusal.ADDRESS_FULL)
    assert table.holds(PEERS[0], now=99)
    assert table.reserve(PEERS[0], ip="192.0.2.1", relayed=False, now=50) == Granted(150, renewed=True)
    assert table.holds(PEERS[0], now=149)
    assert not table.holds(PEERS[0], now=150)


def test_a_full_table_has_room_again_when_a_peer_leaves() -> None:
    table = Reservations(LIMITS)
    for peer in PEERS[:5]:
        assert isinstance(table.reserve(peer, ip=None, relayed=False, now=0), Granted)
    assert table.reserve(PEERS[5], ip=None, relayed=False, now=0) == Refused(ReservationRefusal.TABLE_FULL)
    assert table.release(PEERS[2])
    assert isinstance(table.reserve(PEERS[5], ip=None, relayed=False, now=0), Granted)


@pytest.mark.parametrize("same", ["::ffff:192.0.2.1", "192.0.2.1"])
def test_a_mapped_address_is_the_address_itself(same: str) -> None:
    table = Reservations(LIMITS)
    table.reserve(PEERS[0], ip="192.0.2.1", relayed=False, now=0)
    table.reserve(PEERS[1], ip="192.0.2.1", relayed=False, now=0)
    assert table.reserve(PEERS[2], ip=same, relayed=False, now=0) == Refused(ReservationRefusal.ADDRESS_FULL)


def test_a_zone_in_a_link_local_address_does_not_matter() -> None:
    table = Reservations(LIMITS)
    assert isinstance(table.reserve(PEERS[0], ip="fe80::1%eth0", relayed=False, now=0), Granted)
    assert table.reserve(PEERS[1], ip="fe80::2%eth1", relayed=False, now=0) == Refused(ReservationRefusal.ADDRESS_FULL)
