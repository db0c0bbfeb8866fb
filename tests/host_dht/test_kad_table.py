"""The routing table: who gets in, who is told to others, who is asked again."""

from hypothesis import given
from hypothesis import strategies as st

from covey_core.host import kad_limits as limits
from covey_core.host.kad_table import RoutingTable, position
from covey_core.host.kad_wire import KadPeer
from covey_core.peers import peer_id_bytes
from tests.host_dht.values import kad_peer, peer_number

OWN = peer_number(0)


def _place(number: int) -> int:
    return position(peer_id_bytes(peer_number(number)))


def _far_numbers(count: int) -> list[int]:
    """Peers that fall into the bucket farthest from OWN."""
    far = [n for n in range(1, 400) if (_place(n) ^ _place(0)).bit_length() == limits.BUCKETS]
    return far[:count]


@given(st.sets(st.integers(1, 500), max_size=20), st.integers(0, 2**256 - 1))
def test_the_closest_are_those_with_the_smallest_xor_distance(numbers: set[int], target: int) -> None:
    table = RoutingTable(OWN)
    for number in numbers:
        table.answered(peer_number(number), kad_peer(number).addrs, now=0)
    expected = sorted(numbers, key=lambda n: _place(n) ^ target)
    assert table.closest(target, 20, now=0) == tuple(kad_peer(n) for n in expected if peer_number(n) in table)[:20]


def test_we_never_enter_ourselves() -> None:
    table = RoutingTable(OWN)
    assert not table.answered(OWN, ("/ip4/10.0.0.1/tcp/1",), now=0)
    assert len(table) == 0


def test_a_peer_without_an_address_enters_only_when_it_is_known() -> None:
    table = RoutingTable(OWN)
    assert not table.answered(peer_number(1), (), now=0)
    assert table.answered(peer_number(1), kad_peer(1).addrs, now=0)
    assert table.answered(peer_number(1), (), now=1)
    assert table.peers() == (kad_peer(1),)


def test_a_full_bucket_keeps_its_old_peers_and_replaces_a_failed_one() -> None:
    table = RoutingTable(OWN)
    numbers = _far_numbers(limits.BUCKET_PEERS + 1)
    for number in numbers[:-1]:
        assert table.answered(peer_number(number), kad_peer(number).addrs, now=0)
    newcomer = numbers[-1]
    assert not table.answered(peer_number(newcomer), kad_peer(newcomer).addrs, now=1)
    table.failed(peer_number(numbers[3]), now=2)
    assert table.answered(peer_number(newcomer), kad_peer(newcomer).addrs, now=3)
    assert peer_number(numbers[3]) not in table
    assert len(table) == limits.BUCKET_PEERS


def test_a_subnet_gets_three_places_in_a_bucket_and_private_addresses_do_not_count() -> None:
    table = RoutingTable(OWN)
    numbers = _far_numbers(8)
    for index, number in enumerate(numbers[:4]):
        entered = table.answered(peer_number(number), (f"/ip4/93.184.216.{index + 1}/tcp/1",), now=0)
        assert entered == (index < limits.SUBNET_PEERS)
    assert all(table.answered(peer_number(number), kad_peer(number).addrs, now=0) for number in numbers[4:])


def test_a_failed_peer_is_not_told_to_others_and_not_asked_in_its_pause() -> None:
    table = RoutingTable(OWN)
    for number in (1, 2):
        table.answered(peer_number(number), kad_peer(number).addrs, now=0)
    table.failed(peer_number(1), now=10)
    assert table.known_good(0, 20) == (kad_peer(2),)
    assert table.closest(0, 20, now=11) == (kad_peer(2),)
    assert table.due(now=11) == ()
    later = 10 + limits.PEER_RETRY_SECONDS
    assert table.due(now=later) == (kad_peer(1),)
    assert set(table.closest(0, 20, now=later)) == {kad_peer(1), kad_peer(2)}
    table.answered(peer_number(1), (), now=later)
    assert set(table.known_good(0, 20)) == {kad_peer(1), kad_peer(2)}


def test_when_all_are_in_a_pause_they_are_asked_all_the_same() -> None:
    table = RoutingTable(OWN)
    table.answered(peer_number(1), kad_peer(1).addrs, now=0)
    table.failed(peer_number(1), now=1)
    assert table.closest(0, 20, now=1) == (kad_peer(1),)


def test_pauses_double_up_to_their_bound() -> None:
    table = RoutingTable(OWN)
    table.answered(peer_number(1), kad_peer(1).addrs, now=0)
    now, pauses = 0.0, []
    for _ in range(10):
        table.failed(peer_number(1), now=now)
        start = now
        while not table.due(now=now):
            now += limits.PEER_RETRY_SECONDS
        pauses.append(now - start)
    assert pauses[:3] == [limits.PEER_RETRY_SECONDS * n for n in (1, 2, 4)]
    assert pauses[-1] == limits.PEER_RETRY_MAX_SECONDS


def test_a_server_silent_for_a_day_is_forgotten_at_its_next_failure() -> None:
    table = RoutingTable(OWN)
    table.answered(peer_number(1), kad_peer(1).addrs, now=0)
    table.failed(peer_number(1), now=limits.PEER_FORGOTTEN_SECONDS - 1)
    assert peer_number(1) in table
    table.failed(peer_number(1), now=limits.PEER_FORGOTTEN_SECONDS)
    assert peer_number(1) not in table


def test_a_peer_keeps_eight_addresses() -> None:
    table = RoutingTable(OWN)
    addrs = tuple(f"/ip4/10.0.0.{n}/tcp/1" for n in range(1, 20))
    table.answered(peer_number(1), addrs, now=0)
    assert table.peers() == (KadPeer(peer_number(1), addrs[: limits.PEER_ADDRESSES]),)
