"""At which relays slots are kept."""

from hypothesis import given
from hypothesis import strategies as st

from covey_core.peers import PeerId
from covey_node.protocol.relay_choice import Candidate, choose, networks_of, order_of


def _relay(name: str, operator: str, network: str, **more: object) -> Candidate:
    return Candidate(PeerId(name), operator, frozenset({network}), order=name.encode(), **more)  # type: ignore[arg-type]


A1 = _relay("a1", "ann", "10.1.0.0/16")
A2 = _relay("a2", "ann", "10.2.0.0/16")
B1 = _relay("b1", "bea", "10.1.0.0/16")
C1 = _relay("c1", "cyd", "10.3.0.0/16")


def _choose(*relays: Candidate, keeping: tuple[str, ...] = (), now: float = 0.0) -> list[str]:
    return sorted(choose(relays, wanted=2, keeping=[PeerId(name) for name in keeping], now=now))


def test_two_relays_have_different_operators_and_networks_where_that_can_be() -> None:
    assert _choose(A1, A2, B1, C1) == ["a1", "c1"]


def test_another_operator_in_the_same_network_is_better_than_the_same_operator_elsewhere() -> None:
    assert _choose(A1, A2, B1) == ["a1", "b1"]


def test_where_only_one_operator_is_known_two_of_its_relays_are_taken() -> None:
    assert _choose(A1, A2) == ["a1", "a2"]


def test_what_is_kept_stays_unless_variety_asks_for_another() -> None:
    d1 = _relay("0first", "dot", "10.9.0.0/16")
    assert _choose(d1, A1, C1, keeping=("a1", "c1")) == ["a1", "c1"]
    assert _choose(d1, A1, A2, keeping=("a1", "a2")) == ["0first", "a1"]


def test_a_relay_that_pauses_is_left_out_until_its_time_and_one_that_failed_comes_last() -> None:
    paused = _relay("b1", "bea", "10.4.0.0/16", ready_at=100.0)
    assert _choose(A1, A2, paused) == ["a1", "a2"]
    assert _choose(A1, A2, paused, keeping=("a1", "a2"), now=100.0) == ["a1", "b1"]
    failed = _relay("0", "dot", "10.5.0.0/16", failures=3)
    assert _choose(A1, failed, C1) == ["a1", "c1"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["n1", "n2", "n3"]), st.floats(0, 10)),
        max_size=8,
    ),
    st.floats(0, 10),
)
def test_as_many_are_chosen_as_can_be_asked_and_never_one_that_pauses(
    found: list[tuple[str, str, float]], now: float
) -> None:
    relays = [
        _relay(str(number), operator, network, ready_at=ready)
        for number, (operator, network, ready) in enumerate(found)
    ]
    ready = {relay.peer for relay in relays if relay.ready_at <= now}
    chosen = choose(relays, wanted=2, keeping=(), now=now)
    assert len(set(chosen)) == len(chosen) == min(2, len(ready))
    assert set(chosen) <= ready
    if len({relay.operator for relay in relays if relay.peer in ready}) > 1:
        assert len({relay.operator for relay in relays if relay.peer in chosen}) == 2


def test_networks_are_sixteens_of_ipv4_thirty_twos_of_ipv6_and_names() -> None:
    assert networks_of(
        ["/ip4/10.1.2.3/tcp/1", "/ip4/10.1.9.9/udp/1/quic-v1", "/ip6/2001:db8:1::1/tcp/1", "/dns4/relay.example/tcp/1"]
    ) == {"10.1.0.0/16", "2001:db8::/32", "relay.example"}


def test_the_order_of_equals_is_the_same_at_every_start_and_another_for_every_node() -> None:
    relays = [PeerId(str(number)) for number in range(8)]
    orders = {
        node: sorted(relays, key=lambda relay, node=node: order_of(PeerId(node), relay))  # type: ignore[misc]
        for node in ("x", "y", "z")
    }
    assert orders["x"] == sorted(relays, key=lambda relay: order_of(PeerId("x"), relay))
    assert len({tuple(order) for order in orders.values()}) > 1
