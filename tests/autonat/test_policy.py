"""Which address is dialed, at what price, and how often: against a model, by hypothesis."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey_core.autonat import limits
from covey_core.autonat.limits import AutonatLimits
from covey_core.autonat.origins import groups_of, ip_in, plain
from covey_core.autonat.policy import Chosen, DataMeter, DialPolicy, Refusal, Refused
from covey_core.autonat.windows import SlidingWindow
from covey_core.network import Scope
from covey_core.peers import peer_id_of
from covey_core.wire.direct_addr import DirectAddr

PEER, OTHER = peer_id_of(bytes(32)), peer_id_of(bytes(range(32)))
ASKER, ELSEWHERE = "203.0.114.1", "203.0.115.1"
PUBLIC = Scope()
BOTH = frozenset({"tcp", "quic"})
FORBIDDEN = (
    "127.0.0.1", "10.0.0.1", "172.16.5.5", "192.168.1.1", "100.64.0.1", "169.254.169.254", "169.254.1.1", "224.0.0.1",
    "0.0.0.0", "255.255.255.255", "192.0.2.1", "198.18.0.1", "168.63.129.16", "::1", "::", "fe80::1", "fd00:ec2::254",
    "fc00::1", "ff02::1", "2001:db8::1", "64:ff9b::a00:1", "::ffff:10.0.0.1", f"::ffff:{ASKER}", "2002:a00:1::1",
)  # fmt: skip


def policy(scope: Scope = PUBLIC, random: float = 0.5, **rest) -> DialPolicy:
    bounds = rest.pop("bounds", AutonatLimits())
    return DialPolicy(scope, bounds, random=lambda: random, transports=rest.pop("transports", BOTH), **rest)


def tcp(ip: str, port: int = 4001) -> bytes:
    return DirectAddr(ip, "tcp", port).encode()


def quic(ip: str, port: int = 4001) -> bytes:
    return DirectAddr(ip, "quic", port).encode()


def test_the_askers_own_ip_is_dialed_at_once():
    assert policy().choose([tcp(ASKER)], ip=ASKER, now=0) == Chosen(0, DirectAddr(ASKER, "tcp", 4001))


@given(st.floats(0, 1, exclude_max=True))
def test_another_ip_costs_30_to_100_kilobytes_and_up_to_three_seconds(random):
    chosen = policy(random=random).choose([tcp(ELSEWHERE)], ip=ASKER, now=0)
    assert isinstance(chosen, Chosen)
    assert limits.DATA_BYTES_MIN <= chosen.data_bytes <= limits.DATA_BYTES_MAX
    assert 0 <= chosen.wait_seconds <= limits.SPREAD_SECONDS


@pytest.mark.parametrize("ip", FORBIDDEN)
def test_an_address_that_is_not_outside_is_never_dialed(ip):
    assert policy().choose([tcp(ip), quic(ip)], ip=ASKER, now=0) == Refused(Refusal.NO_ADDRESS)


@pytest.mark.parametrize("ip", FORBIDDEN)
def test_not_even_when_the_asker_comes_from_there(ip):
    assert policy().choose([tcp(ip)], ip=ip, now=0) == Refused(Refusal.NO_ADDRESS)


def test_a_private_network_is_dialed_inside_its_subnets_only():
    scope = Scope(("10.1.0.0/16",))
    for ip in (ASKER, "10.2.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254"):
        assert policy(scope).choose([tcp(ip)], ip="10.1.0.5", now=0) == Refused(Refusal.NO_ADDRESS)
    assert policy(scope).choose([tcp("10.1.0.5")], ip="10.1.0.5", now=0) == Chosen(
        0, DirectAddr("10.1.0.5", "tcp", 4001)
    )


def test_the_first_address_that_may_be_dialed_is_the_one():
    addrs = [b"", b"\x04", tcp("10.0.0.1"), quic(ASKER, 7), tcp(ASKER)]
    assert policy().choose(addrs, ip=ASKER, now=0) == Chosen(3, DirectAddr(ASKER, "quic", 7))
    assert policy(transports=frozenset({"tcp"})).choose(addrs, ip=ASKER, now=0) == Chosen(
        4, DirectAddr(ASKER, "tcp", 4001)
    )


def test_an_address_without_a_route_and_an_own_one_are_passed_over():
    assert policy(can_reach=lambda _ip: False).choose([tcp(ASKER)], ip=ASKER, now=0) == Refused(Refusal.NO_ADDRESS)
    own = policy(is_own=lambda ip: ip == ELSEWHERE)
    assert own.choose([tcp(ELSEWHERE)], ip=ASKER, now=0) == Refused(Refusal.NO_ADDRESS)


addresses = st.one_of(
    st.binary(max_size=40),
    st.builds(tcp, st.sampled_from([*(ip for ip in FORBIDDEN if ip != "::"), ASKER, ELSEWHERE]), st.integers(1, 65535)),
    st.builds(quic, st.ip_addresses().map(str), st.integers(1, 65535)),
)


@given(st.lists(addresses, max_size=8), st.sampled_from([ASKER, ELSEWHERE, "2a00::5"]))
def test_whatever_is_asked_for_only_outside_addresses_are_chosen_and_others_ones_are_paid_for(addrs, ip):
    chosen = policy().choose(addrs, ip=ip, now=0)
    if isinstance(chosen, Chosen):
        assert PUBLIC.is_reachable_from_outside(chosen.target.ip)
        assert chosen.target == DirectAddr.decode(addrs[chosen.index])
        assert (chosen.data_bytes == 0) == (chosen.target.ip == ip)


def test_requests_through_a_relay_are_refused():
    assert policy().begin(PEER, ip=ASKER, relayed=True, now=0) == Refused(Refusal.RELAYED)
    assert policy().begin(PEER, ip=None, relayed=False, now=0) == Refused(Refusal.RELAYED)


def test_a_peer_has_two_requests_under_way_at_most():
    it = policy()
    assert [it.begin(PEER, ip=ASKER, relayed=False, now=0) for _ in range(2)] == [None, None]
    assert it.begin(PEER, ip=ASKER, relayed=False, now=0) == Refused(Refusal.PEER_BUSY)
    it.end(PEER, ip=ASKER)
    assert it.begin(PEER, ip=ASKER, relayed=False, now=0) is None


def test_one_address_cannot_hold_all_places():
    it = policy(bounds=AutonatLimits(under_way=4, under_way_per_ip=2))
    peers = [peer_id_of(bytes([number] * 32)) for number in range(4)]
    outcomes = [it.begin(peer, ip=ASKER, relayed=False, now=0) for peer in peers]
    assert outcomes == [None, None, Refused(Refusal.BUSY), Refused(Refusal.BUSY)]
    assert it.begin(peers[2], ip=ELSEWHERE, relayed=False, now=0) is None
    it.end(peers[0], ip=ASKER)
    assert it.begin(peers[3], ip=ASKER, relayed=False, now=0) is None
    assert it.under_way == 3


def test_one_address_cannot_use_up_what_is_for_all():
    it, refused = policy(bounds=AutonatLimits(requests_per_ip=5)), 0
    for number in range(10):
        peer = peer_id_of(bytes([number] * 32))
        if it.begin(peer, ip=ASKER, relayed=False, now=0) is None:
            it.end(peer, ip=ASKER)
        else:
            refused += 1
    assert refused == 5
    assert it.begin(OTHER, ip=ELSEWHERE, relayed=False, now=0) is None


def test_nobody_is_hammered_through_us_whoever_asks():
    it = policy(bounds=AutonatLimits(dials_with_data_per_target=3))
    outcomes = [it.choose([tcp("203.0.116.1", port)], ip=f"203.0.114.{port}", now=0) for port in range(1, 6)]
    assert [isinstance(one, Chosen) for one in outcomes] == [True] * 3 + [False] * 2
    assert isinstance(it.choose([tcp("203.0.116.1")], ip=ASKER, now=limits.WINDOW_SECONDS), Chosen)


def test_an_ipv6_customer_is_one_origin():
    one, same, other = (plain(ip) for ip in ("2a00:1:2:300::1", "2a00:1:2:3ff::9", "2a00:1:2:400::1"))
    assert one is not None
    assert same is not None
    assert other is not None
    assert groups_of(one)[0] == groups_of(same)[0] != groups_of(other)[0]
    assert groups_of(one)[1] == groups_of(other)[1]


def test_the_ip_of_a_connection_is_found_without_zone_and_disguise():
    assert str(ip_in("/ip4/203.0.114.1/tcp/1")) == ASKER
    assert str(ip_in(f"/ip6/::ffff:{ASKER}/tcp/1")) == ASKER
    assert str(ip_in("/ip6zone/eth0/ip6/fe80::1/tcp/1")) == "fe80::1"
    assert ip_in(f"/ip4/{ASKER}/tcp/1/p2p/{PEER}/p2p-circuit") is None
    assert ip_in("/dns4/example.org/tcp/1") is None


@given(st.lists(st.integers(limits.DATA_CHUNK_MIN_BYTES, 4096), min_size=1), st.integers(1, 100_000))
def test_the_meter_stops_as_soon_as_enough_came(sizes, wanted):
    meter = DataMeter(wanted)
    came = 0
    for size in sizes:
        if meter.left <= 0:
            assert came >= wanted
            return
        assert meter.take(size)
        came += size
    assert meter.left == wanted - came


def test_small_messages_of_data_are_not_taken_but_for_the_last():
    meter = DataMeter(150)
    assert not meter.take(99)
    assert DataMeter(50).take(50)


class Windows(RuleBasedStateMachine):
    """The sliding window against a list of everything that ever was admitted."""

    def __init__(self) -> None:
        super().__init__()
        self.window = SlidingWindow(seconds=60)
        self.now = 0.0
        self.admitted: list[tuple[float, tuple[str, ...]]] = []

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(keys=st.sets(st.sampled_from("abc"), min_size=1))
    def admit(self, keys: set[str]) -> None:
        recent = Counter(key for at, keys in self.admitted if self.now - at < 60 for key in keys)
        wanted = all(recent[key] < 3 for key in keys)
        assert self.window.admit(dict.fromkeys(keys, 3), now=self.now) is wanted
        if wanted:
            self.admitted.append((self.now, tuple(keys)))

    @precondition(lambda self: self.admitted)
    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.window) <= 9


TestWindows = Windows.TestCase
