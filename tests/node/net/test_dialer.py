"""The order of tries: direct addresses first, relays soon after, whoever answers first wins."""

from ipaddress import ip_network

import pytest
import trio
from trio.testing import MockClock

from covey_core.errors import CoveyError, StreamLost, Unreachable
from covey_core.host import ConnectionInfo
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.net.dialer import Dialer
from covey_node.net.relays import Relay
from tests.support.people import empty_network

PEER = Identity.generate().peer_id
RELAY = Identity.generate().peer_id


class _Host:
    """Answers direct dials after a time, or refuses."""

    def __init__(self, answers_after: float | None, error: CoveyError | None = None) -> None:
        self.error = error or Unreachable("connection refused")
        self.network = empty_network()
        self.answers_after = answers_after
        self.answered = trio.Event()

    def connections(self, _peer: PeerId) -> tuple[ConnectionInfo, ...]:
        return ()

    async def connect(self, _peer: PeerId, _addrs: list[str]) -> None:
        if self.answers_after is None:
            raise self.error
        await trio.sleep(self.answers_after)
        self.answered.set()


class _Relays:
    """Notes when a circuit was asked for."""

    def __init__(self, *, works: bool) -> None:
        self.works = works
        self.relays = {RELAY: Relay("test", RELAY, (f"/ip4/127.0.0.1/tcp/1/p2p/{RELAY}",))}
        self.asked_at: float | None = None
        self.doubted: set[PeerId] = set()
        self.answers = trio.Event()
        self.answers.set()

    def is_doubted(self, relay: PeerId) -> bool:
        return relay in self.doubted

    async def dial(self, _relay: PeerId, _addrs: tuple[str, ...], _peer: PeerId) -> None:
        self.asked_at = trio.current_time()
        await self.answers.wait()
        if not self.works:
            raise Unreachable("the relay has no slot for the contact")


def _dialer(host: _Host, relays: _Relays) -> Dialer:
    return Dialer(host, relays)  # type: ignore[arg-type]


DIRECT = [f"/ip4/127.0.0.1/tcp/2/p2p/{PEER}"]


async def test_a_direct_answer_in_time_asks_no_relay(autojump_clock: MockClock) -> None:
    relays = _Relays(works=True)
    await _dialer(_Host(limits.DIRECT_HEAD_START_SECONDS / 2), relays).connect(PEER, DIRECT)
    assert relays.asked_at is None


async def test_a_silent_address_holds_the_relay_up_for_its_head_start_only(autojump_clock: MockClock) -> None:
    relays = _Relays(works=True)
    start = trio.current_time()
    await _dialer(_Host(1000), relays).connect(PEER, DIRECT)
    assert relays.asked_at == start + limits.DIRECT_HEAD_START_SECONDS


async def test_an_address_of_another_site_holds_nobody_up_and_is_dialed_all_the_same(
    autojump_clock: MockClock,
) -> None:
    far = [f"/ip4/192.168.77.10/tcp/2/p2p/{PEER}"]
    for subnets, asked_at in (((), 0.0), ((ip_network("192.168.77.0/24"),), limits.DIRECT_HEAD_START_SECONDS)):
        relays, began = _Relays(works=False), trio.current_time()
        host = _Host(answers_after=5)
        dialer = _dialer(host, relays)
        dialer.subnets = lambda subnets=subnets: subnets
        await dialer.connect(PEER, far)
        assert relays.asked_at == began + asked_at
        assert host.answered.is_set()


async def test_a_refused_address_asks_the_relay_at_once(autojump_clock: MockClock) -> None:
    relays = _Relays(works=True)
    start = trio.current_time()
    await _dialer(_Host(None), relays).connect(PEER, DIRECT)
    assert relays.asked_at == start


async def test_a_slow_direct_answer_counts_when_no_relay_helps(autojump_clock: MockClock) -> None:
    await _dialer(_Host(5), _Relays(works=False)).connect(PEER, DIRECT)


async def test_all_reasons_are_told_when_nothing_works(autojump_clock: MockClock) -> None:
    with pytest.raises(Unreachable) as caught:
        await _dialer(_Host(None), _Relays(works=False)).connect(PEER, DIRECT)
    assert "connection refused" in str(caught.value)
    assert "no slot" in str(caught.value)


async def test_a_direct_stream_that_breaks_is_one_more_reason(autojump_clock: MockClock) -> None:
    with pytest.raises(Unreachable, match="broke"):
        await _dialer(_Host(None, StreamLost("it broke")), _Relays(works=False)).connect(PEER, DIRECT)


async def test_a_direct_answer_counts_though_the_relay_refuses_at_the_same_moment(autojump_clock: MockClock) -> None:
    host, relays = _Host(5), _Relays(works=False)
    relays.answers = host.answered
    await _dialer(host, relays).connect(PEER, DIRECT)


async def test_a_relay_that_says_nothing_is_joined_by_the_next_and_a_doubted_one_comes_last(
    autojump_clock: MockClock,
) -> None:
    relays, other = _Relays(works=True), Identity.generate().peer_id
    relays.relays[other] = Relay("other", other, (f"/ip4/127.0.0.1/tcp/3/p2p/{other}",))
    asked: list[tuple[PeerId, float]] = []

    async def dial(relay: PeerId, _addrs: tuple[str, ...], _peer: PeerId) -> None:
        asked.append((relay, trio.current_time()))
        await trio.sleep(0 if len(asked) == 2 else 1000)

    relays.dial = dial  # type: ignore[method-assign]
    began = trio.current_time()
    await _dialer(_Host(None), relays).connect(PEER, [])
    assert asked == [(RELAY, began), (other, began + limits.NEXT_RELAY_SECONDS)]
    asked.clear()
    relays.doubted.add(RELAY)
    await _dialer(_Host(None), relays).connect(PEER, [])
    assert [relay for relay, _ in asked] == [other, RELAY]
