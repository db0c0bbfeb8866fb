"""How often a peer may report its hole punches.

Owns: the count of reports of each peer. Spec: docs/spec/report.md, section "Limits".
Never touches: sockets, trio, the clock (callers pass `now`), what a report says, who holds a slot.
"""

from collections import OrderedDict, deque
from enum import Enum

from covey_core.peers import PeerId
from covey_relay import limits


class ReportRefusal(Enum):
    """Why a report was not counted."""

    NO_RESERVATION = "no_reservation"
    RATE = "rate"
    MALFORMED = "malformed"


class ReportAllowance:
    """At most `limits.REPORTS_PER_PEER` reports of one peer within `limits.REPORT_WINDOW_SECONDS`.

    A peer is remembered for that long after its last report; when the table is full, nobody new may report, so that
    nobody is forgotten too early.
    """

    def __init__(self, *, peers_max: int = limits.REPORTING_PEERS) -> None:
        self._peers_max = peers_max
        self._times: OrderedDict[PeerId, deque[float]] = OrderedDict()  # whose last report is oldest comes first

    def __len__(self) -> int:
        """Return the number of peers remembered."""
        return len(self._times)

    def take(self, peer: PeerId, *, now: float) -> bool:
        """Count a report and return True, or return False when it is one too many."""
        self._forget(now)
        times = self._times.get(peer)
        if times is None:
            if len(self._times) >= self._peers_max:
                return False
            times = self._times[peer] = deque(maxlen=limits.REPORTS_PER_PEER)
        if len(times) == limits.REPORTS_PER_PEER and times[0] > now - limits.REPORT_WINDOW_SECONDS:
            return False
        times.append(now)
        self._times.move_to_end(peer)
        return True

    def _forget(self, now: float) -> None:
        while self._times:
            peer, times = next(iter(self._times.items()))
            if times[-1] > now - limits.REPORT_WINDOW_SECONDS:
                return
            del self._times[peer]
