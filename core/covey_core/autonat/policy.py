"""Whom an AutoNAT server serves, which address of a request it dials, and at what price.

Owns: that decision and the rates. Spec: libp2p specs, autonat/autonat-v2.md; docs/spec/autonat.md.
Never touches: sockets, trio, the clock (callers pass `now`), randomness (callers pass `random`).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from covey_core.autonat import limits
from covey_core.autonat.limits import AutonatLimits
from covey_core.autonat.origins import Ip, groups_of, plain
from covey_core.autonat.windows import SlidingWindow
from covey_core.network import Scope
from covey_core.peers import PeerId
from covey_core.wire.direct_addr import DirectAddr


class Refusal(StrEnum):
    """Why a request was not served; METRICS' `reason`."""

    RELAYED = "relayed"
    PEER_BUSY = "peer_busy"
    BUSY = "busy"
    RATE = "rate"
    NO_ADDRESS = "no_address"


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not served."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class Chosen:
    """The address at `index` is dialed, after `data_bytes` (0: at once) have come and `wait_seconds` have passed."""

    index: int
    target: DirectAddr
    data_bytes: int = 0
    wait_seconds: float = 0.0


class DialPolicy:
    """The decisions of one server."""

    def __init__(
        self,
        scope: Scope,
        bounds: AutonatLimits,
        *,
        random: Callable[[], float],
        transports: frozenset[str],
        can_reach: Callable[[str], bool] = lambda _ip: True,
        is_own: Callable[[str], bool] = lambda _ip: False,
    ) -> None:
        """`random` is uniform in [0, 1); `transports` are those that this server can dial.

        `can_reach` says whether this machine has a route to an IP, `is_own` whether the IP is this machine's.
        """
        self._scope = scope
        self._bounds = bounds
        self._random = random
        self._transports = transports
        self._can_reach = can_reach
        self._is_own = is_own
        self._requests = SlidingWindow(seconds=limits.WINDOW_SECONDS)
        self._foreign = SlidingWindow(seconds=limits.WINDOW_SECONDS)
        self._under_way: Counter[PeerId] = Counter()
        self._under_way_at: Counter[Hashable] = Counter()

    @property
    def under_way(self) -> int:
        """How many requests are being served."""
        return self._under_way.total()

    def begin(self, peer: PeerId, *, ip: str | None, relayed: bool, now: float) -> Refused | None:
        """Take up a request of `peer`, that comes from `ip`; unless it is refused, `end` must follow.

        Requests through a relay are refused: the relay's IP is not the asker's.
        """
        source = None if ip is None else plain(ip)
        if relayed or source is None:
            return Refused(Refusal.RELAYED)
        if self._under_way[peer] >= self._bounds.under_way_per_peer:
            return Refused(Refusal.PEER_BUSY)
        place = groups_of(source)[0]
        if self.under_way >= self._bounds.under_way or self._under_way_at[place] >= self._bounds.under_way_per_ip:
            return Refused(Refusal.BUSY)
        bounds: dict[Hashable, int] = {"all": self._bounds.requests, peer: self._bounds.requests_per_peer}
        bounds |= dict(zip(groups_of(source), (self._bounds.requests_per_ip, self._bounds.requests_per_site)))  # noqa: B905
        if not self._requests.admit(bounds, now=now):
            return Refused(Refusal.RATE)
        self._under_way[peer] += 1
        self._under_way_at[place] += 1
        return None

    def end(self, peer: PeerId, *, ip: str) -> None:
        """A request that was taken up is over."""
        source = plain(ip)
        self._under_way -= Counter([peer])  # what comes to nothing leaves the counter
        if source is not None:
            self._under_way_at -= Counter(groups_of(source)[:1])

    def choose(self, addrs: Sequence[bytes], *, ip: str, now: float) -> Chosen | Refused:
        """Choose the first of the addresses (binary multiaddrs) that may be dialed for who asks from `ip`.

        An address whose IP is not the asker's costs 30 to 100 KB of data and has rates of its own.
        """
        source = plain(ip)
        for index, raw in enumerate(addrs):
            target = DirectAddr.decode(raw)
            if source is None or target is None or not self._may_dial(target, source=source):
                continue
            if ip_address(target.ip) == source:
                return Chosen(index, target)
            bounds: dict[Hashable, int] = {"all": self._bounds.dials_with_data}
            bounds["at", groups_of(ip_address(target.ip))[0]] = self._bounds.dials_with_data_per_target
            bounds["for", groups_of(source)[0]] = self._bounds.dials_with_data_per_ip
            if not self._foreign.admit(bounds, now=now):
                return Refused(Refusal.RATE)
            return Chosen(
                index,
                target,
                data_bytes=limits.DATA_BYTES_MIN
                + int(self._random() * (limits.DATA_BYTES_MAX - limits.DATA_BYTES_MIN + 1)),
                wait_seconds=self._random() * limits.SPREAD_SECONDS,
            )
        return Refused(Refusal.NO_ADDRESS)

    def _may_dial(self, target: DirectAddr, *, source: Ip) -> bool:
        ip = ip_address(target.ip)
        if ip != plain(target.ip):  # an IPv4 address in IPv6's clothes would be judged as one thing, dialed as another
            return False
        return (
            target.transport in self._transports
            and self._scope.is_reachable_from_outside(target.ip)
            and (ip == source or not self._is_own(target.ip))
            and self._can_reach(target.ip)
        )


class DataMeter:
    """Counts dial data as it comes: no more is asked for once `wanted` bytes are there."""

    def __init__(self, wanted: int) -> None:
        self.left = wanted

    def take(self, size: int) -> bool:
        """Count a message with `size` bytes of data; False when it is too small to be worth decoding."""
        self.left -= size
        return self.left <= 0 or size >= limits.DATA_CHUNK_MIN_BYTES
