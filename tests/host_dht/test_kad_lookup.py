"""The search: it finds the nearest, asks few at once, ends, and stays bounded."""

from hypothesis import given
from hypothesis import strategies as st

from covey_core.host import kad_limits as limits
from covey_core.host.kad_lookup import Lookup
from covey_core.host.kad_table import position
from covey_core.host.kad_wire import KadPeer
from covey_core.peers import peer_id_bytes
from tests.host_dht.values import kad_peer, peer_number

OWN = peer_number(0)
TARGET = position(b"somewhere")


def _distance(peer: KadPeer) -> int:
    return position(peer_id_bytes(peer.peer)) ^ TARGET


@given(st.integers(1, 80), st.sets(st.integers(1, 80)), st.randoms(use_true_random=False))
def test_a_lookup_ends_with_the_nearest_living_peers(count: int, dead: set[int], rng) -> None:  # type: ignore[no-untyped-def]
    everybody = [kad_peer(n) for n in range(1, count + 1)]
    dead_peers = {kad_peer(n).peer for n in dead}
    lookup = Lookup(TARGET, everybody[:3], own=OWN)
    waiting: list[KadPeer] = []
    while not lookup.over:
        waiting.extend(lookup.to_ask())
        assert len(waiting) <= limits.CONCURRENT_REQUESTS
        peer = waiting.pop(rng.randrange(len(waiting)))
        if peer.peer in dead_peers:
            lookup.failed(peer.peer)
        else:
            lookup.answered(peer.peer, sorted(everybody, key=_distance)[:40])
    if all(p.peer in dead_peers for p in everybody[:3]):
        assert lookup.found() == ()
        return
    heard_of = {p.peer for p in [*everybody[:3], *sorted(everybody, key=_distance)[:40]]}
    alive = [p for p in everybody if p.peer not in dead_peers and p.peer in heard_of]
    assert list(lookup.found()) == sorted(alive, key=_distance)[: limits.BUCKET_PEERS]


def test_we_are_never_asked_by_ourselves() -> None:
    lookup = Lookup(TARGET, [kad_peer(0)], own=OWN)
    assert lookup.to_ask() == ()
    assert lookup.over


def test_a_flood_of_names_displaces_only_farther_ones_that_wait() -> None:
    ordered = sorted((kad_peer(n) for n in range(1, 2 * limits.LOOKUP_CANDIDATES)), key=_distance)
    lookup = Lookup(TARGET, ordered[limits.LOOKUP_CANDIDATES - 2 :], own=OWN)
    lookup.heard_of(ordered[:1])
    asked = lookup.to_ask()
    assert asked[0] == ordered[0]
    lookup.heard_of(ordered[-1:])
    seen = {p.peer for p in asked}
    while not lookup.over:
        for peer in asked:
            lookup.failed(peer.peer)
        asked = lookup.to_ask()
        seen |= {p.peer for p in asked}
    assert len(seen) == limits.LOOKUP_CANDIDATES


def test_only_slow_peers_left_is_told_and_they_are_named() -> None:
    lookup = Lookup(TARGET, [kad_peer(1), kad_peer(2)], own=OWN)
    lookup.to_ask()
    assert not lookup.waiting_only
    lookup.answered(kad_peer(1).peer, ())
    assert lookup.waiting_only
    assert not lookup.over
    assert lookup.slow() == (kad_peer(2),)
    assert lookup.found() == (kad_peer(1),)
    assert set(lookup.found(with_slow=True)) == {kad_peer(1), kad_peer(2)}
