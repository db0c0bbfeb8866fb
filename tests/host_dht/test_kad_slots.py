"""Streams and requests of strangers: nobody holds up the others."""

from covey_core.host import kad_limits as limits
from covey_core.host.kad_slots import RequestRates, StreamSlots
from tests.host_dht.values import peer_number


def _nothing() -> None:
    """A stream that does not care."""


def test_one_stream_too_many_of_a_peer_is_refused_until_one_ends() -> None:
    slots = StreamSlots()
    held = [slots.open(peer_number(1), _nothing) for _ in range(limits.PEER_STREAMS)]
    assert None not in held
    assert slots.open(peer_number(1), _nothing) is None
    assert slots.open(peer_number(2), _nothing) is not None
    assert held[0] is not None
    slots.close(held[0])
    slots.close(held[0])
    assert slots.open(peer_number(1), _nothing) is not None
    assert slots.open(peer_number(1), _nothing) is None


def test_when_all_are_taken_the_stream_idle_longest_makes_room() -> None:
    slots = StreamSlots(total=3)
    pushed: list[int] = []
    first, second, third = (slots.open(peer_number(n), lambda n=n: pushed.append(n)) for n in (1, 2, 3))  # type: ignore[misc]
    assert first is not None
    assert second is not None
    assert third is not None
    slots.busy(first)
    slots.busy(second)
    slots.idle(second, lambda: pushed.append(2))
    assert slots.open(peer_number(4), _nothing) is not None
    assert pushed == [3]
    assert slots.open(peer_number(5), _nothing) is not None
    assert pushed == [3, 2]
    assert len(slots) == 3


def test_when_all_are_busy_a_new_stream_is_refused() -> None:
    slots = StreamSlots(total=1)
    slot = slots.open(peer_number(1), _nothing)
    assert slot is not None
    slots.busy(slot)
    assert slots.open(peer_number(2), _nothing) is None


def test_a_peer_may_burst_and_then_gets_its_rate() -> None:
    rates = RequestRates()
    burst = int(limits.PEER_REQUESTS_BURST)
    assert all(rates.allow(peer_number(1), now=0) for _ in range(burst))
    assert not rates.allow(peer_number(1), now=0)
    assert rates.allow(peer_number(2), now=0)
    allowed = sum(rates.allow(peer_number(1), now=1) for _ in range(burst))
    assert allowed == int(limits.PEER_REQUESTS_PER_SECOND)


def test_rates_of_many_peers_are_bounded() -> None:
    rates = RequestRates()
    for number in range(limits.PEERS_RATED + 10):
        rates.allow(peer_number(number), now=0)
    assert len(rates._buckets) == limits.PEERS_RATED
