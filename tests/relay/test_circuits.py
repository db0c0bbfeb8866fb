"""The circuit table against a plain list, and the meters of its directions."""

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from covey_core.peers import PeerId
from covey_relay.circuits import Circuit, CircuitRefusal, CircuitRefused, Circuits, Meter
from covey_relay.limits import AddressCaps, RelayLimits

PEERS = [PeerId(f"peer-{number}") for number in range(5)]
IPS = [None, "192.0.2.1", "192.0.2.2", "192.0.2.3"]
LIMITS = RelayLimits(
    circuits=9,
    circuits_per_peer=5,
    circuits_per_pair=2,
    circuits_per_address=AddressCaps(ipv4=4, ipv6_56=4, ipv6_48=4),
    circuit_seconds=60,
    circuit_bytes=1000,
)


class CircuitsMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.table = Circuits(LIMITS)
        self.model: list[tuple[Circuit, set[str]]] = []
        self.draining = False

    @rule(
        pair=st.tuples(st.sampled_from(PEERS), st.sampled_from(PEERS)),
        ips=st.tuples(st.sampled_from(IPS), st.sampled_from(IPS)),
        relayed=st.sampled_from([False, False, False, True]),
        reserved=st.sampled_from([True, True, True, False]),
    )
    def open(
        self, pair: tuple[PeerId, PeerId], ips: tuple[str | None, str | None], relayed: bool, reserved: bool
    ) -> None:
        outcome = self.table.open(*pair, source_ip=ips[0], target_ip=ips[1], relayed=relayed, reserved=reserved)
        known_ips = {ip for ip in ips if ip is not None}
        expected = self.expected_refusal(pair, known_ips, relayed, reserved)
        if expected is not None:
            assert outcome == CircuitRefused(expected)
            return
        assert isinstance(outcome, Circuit)
        assert outcome.expires_at is None
        assert outcome.onward.allowance == outcome.back.allowance == LIMITS.circuit_bytes
        self.model.append((outcome, known_ips))

    def expected_refusal(
        self, pair: tuple[PeerId, PeerId], ips: set[str], relayed: bool, reserved: bool
    ) -> CircuitRefusal | None:
        ends = [{circuit.source, circuit.target} for circuit, _ in self.model]
        pairs = [(circuit.source, circuit.target) for circuit, _ in self.model]
        rules = [
            (self.draining, CircuitRefusal.DRAINING),
            (relayed, CircuitRefusal.RELAYED),
            (pair[0] == pair[1], CircuitRefusal.TO_ITSELF),
            (not reserved, CircuitRefusal.NO_RESERVATION),
            (len(self.model) >= 9, CircuitRefusal.TABLE_FULL),
            (any(sum(peer in end for end in ends) >= 5 for peer in pair), CircuitRefusal.PEER_FULL),
            (pairs.count(pair) >= 2, CircuitRefusal.PAIR_FULL),
            (any(sum(ip in held for _, held in self.model) >= 4 for ip in ips), CircuitRefusal.ADDRESS_FULL),
        ]
        return next((refusal for broken, refusal in rules if broken), None)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), twice=st.booleans())
    def close(self, data: st.DataObject, twice: bool) -> None:
        circuit, _ = self.model.pop(data.draw(st.integers(0, len(self.model) - 1)))
        self.table.close(circuit)
        if twice:
            self.table.close(circuit)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), now=st.floats(0, 1e6))
    def establish(self, data: st.DataObject, now: float) -> None:
        circuit, _ = data.draw(st.sampled_from(self.model))
        self.table.establish(circuit, now=now)
        assert circuit.expires_at == now + 60

    @precondition(lambda self: len(self.model) > 6)
    @rule()
    def drain(self) -> None:
        self.table.drain()
        self.draining = True

    @invariant()
    def every_open_circuit_is_counted_once(self) -> None:
        assert len(self.table) == len(self.model)


TestCircuitsMachine = CircuitsMachine.TestCase


def open_one(table: Circuits, source: PeerId = PEERS[0], target: PeerId = PEERS[1]) -> Circuit | CircuitRefused:
    return table.open(source, target, source_ip=None, target_ip=None, relayed=False, reserved=True)


def test_circuits_of_one_pair_are_independent() -> None:
    table = Circuits(LIMITS)
    first, second = open_one(table), open_one(table)
    assert isinstance(first, Circuit)
    assert isinstance(second, Circuit)
    first.onward.admit(1000)
    assert second.onward.admit(10) == 10
    table.close(first)
    assert len(table) == 1
    assert isinstance(open_one(table), Circuit)


def test_the_pair_counts_in_one_direction_only() -> None:
    table = Circuits(LIMITS)
    for _ in range(2):
        open_one(table)
    assert open_one(table) == CircuitRefused(CircuitRefusal.PAIR_FULL)
    assert isinstance(open_one(table, PEERS[1], PEERS[0]), Circuit)


def test_no_limit_on_the_duration_means_no_deadline() -> None:
    table = Circuits(RelayLimits(circuit_seconds=0))
    circuit = open_one(table)
    assert isinstance(circuit, Circuit)
    table.establish(circuit, now=5)
    assert circuit.expires_at is None


def test_tables_hold_nothing_after_the_last_circuit() -> None:
    table = Circuits(LIMITS)
    circuit = table.open(PEERS[0], PEERS[1], source_ip="::1", target_ip="192.0.2.1", relayed=False, reserved=True)
    assert isinstance(circuit, Circuit)
    table.close(circuit)
    assert not table._by_peer
    assert not table._by_pair
    assert not table._counts._counts


@given(st.integers(1, 5000), st.lists(st.integers(0, 700)))
def test_a_meter_never_lets_more_than_its_allowance_pass(allowance: int, sizes: list[int]) -> None:
    meter = Meter(allowance)
    passed = [meter.admit(size) for size in sizes]
    assert sum(passed) == min(sum(sizes), allowance) == meter.carried
    assert all(got <= size for got, size in zip(passed, sizes, strict=True))


@given(st.lists(st.integers(0, 1 << 40)))
def test_a_meter_without_allowance_only_counts(sizes: list[int]) -> None:
    meter = Meter(0)
    assert [meter.admit(size) for size in sizes] == sizes
    assert meter.carried == sum(sizes)
