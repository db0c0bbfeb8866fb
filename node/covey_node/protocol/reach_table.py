"""Which of our addresses are reachable from outside, by the word of several servers; whom to ask about what next.

Owns: the addresses, the answers, the timetable. Spec: docs/spec/autonat.md, "The client's judgement".
Never touches: sockets, trio, the clock (callers pass `now`), randomness.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from covey_core.peers import PeerId
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits

_MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ReachableAddr:
    """One address of ours. `reachable` is None while nothing is known; `checked_at` is on the caller's clock."""

    addr: str
    transport: str
    ip_version: str
    reachable: bool | None
    checked_at: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Server:
    """Somebody who serves AutoNAT and is connected now, directly, from `ip`."""

    peer: PeerId
    ip: str


@dataclass(frozen=True, slots=True)
class Question:
    """Ask this server about this address."""

    server: Server
    target: DirectAddr


@dataclass(slots=True)
class _Entry:
    """One address: what is believed, and the round of questions. An answer of None is one that does not help."""

    seen_at: float
    due_at: float
    reachable: bool | None = None
    checked_at: float | None = None
    reason: str = "not tested yet"
    answers: dict[PeerId, bool | None] = field(default_factory=dict)
    asking: set[PeerId] = field(default_factory=set)
    ips: set[str] = field(default_factory=set)
    settled: bool = False

    @property
    def said(self) -> Counter[bool]:
        """How many servers said yes, and no."""
        return Counter(answer for answer in self.answers.values() if answer is not None)

    def wants_more(self) -> bool:
        """Whether another server is to be asked in this round: for two that agree, else for a third."""
        if len(self.answers) + len(self.asking) >= limits.REACH_TRIES_MAX:
            return False
        said = self.said
        if self.asking:
            return said.total() + len(self.asking) < limits.REACH_SERVERS
        return max(said.values(), default=0) < limits.REACH_SERVERS

    def begin_round(self) -> None:
        """Forget the answers of the round before."""
        self.answers, self.ips, self.settled = {}, set(), False

    def settle(self, reason: str, *, now: float) -> None:
        """Draw the conclusion of a round. A draw, and silence, leave what was believed before."""
        said = self.said
        if said[True] != said[False]:
            self.reachable = said[True] > said[False]
        if said.total() == 1:
            reason = f"{reason}; no second server could be asked" if reason else "by the word of one server"
        elif said[True] and said[False]:
            reason = f"{said[True]} of {said.total()} servers could connect"
        elif said:
            reason = reason or f"{said.total()} servers could connect"
        sure = max(said.values(), default=0) >= limits.REACH_SERVERS
        self.reason, self.checked_at, self.settled = reason, now, True
        self.due_at = now + (limits.REACH_KNOWN_SECONDS if sure else limits.REACH_UNKNOWN_SECONDS)


class ReachTable:
    """The addresses under test. In each round two servers are asked, a third if they disagree."""

    def __init__(self) -> None:
        self._entries: dict[DirectAddr, _Entry] = {}
        self._asked: dict[PeerId, deque[float]] = {}
        self._avoided: dict[PeerId, float] = {}

    def addrs(self) -> tuple[ReachableAddr, ...]:
        """Return every address with what is known of it."""
        return tuple(
            ReachableAddr(str(addr), addr.transport, addr.ip_version, one.reachable, one.checked_at, one.reason)
            for addr, one in self._entries.items()
        )

    def reachable(self) -> tuple[DirectAddr, ...]:
        """Return the addresses that others have reached."""
        return tuple(addr for addr, entry in self._entries.items() if entry.reachable)

    def offer(self, candidates: Sequence[DirectAddr], *, now: float) -> bool:
        """Take what may be our addresses now, the likeliest first; says whether a reachable one has gone.

        One that is named no longer stays for two minutes, unless others need its place.
        """
        before = self.reachable()
        for addr in candidates[: limits.REACH_ADDRS_MAX]:
            self._entries.setdefault(addr, _Entry(now, now)).seen_at = now
        oldest_first = sorted(self._entries, key=lambda one: self._entries[one].seen_at)
        surplus = len(oldest_first) - limits.REACH_ADDRS_MAX
        for place, addr in enumerate(oldest_first):
            if place < surplus or now - self._entries[addr].seen_at >= limits.REACH_GONE_SECONDS:
                del self._entries[addr]
        return before != self.reachable()

    def test_again(self, *, now: float) -> None:
        """We are in another network, it seems: test every address anew, at once."""
        for entry in self._entries.values():
            entry.due_at = min(entry.due_at, now)

    def next_question(self, servers: Sequence[Server], *, now: float) -> Question | None:
        """Return a question that is due, or None; `answered` must follow each."""
        self._forget(now)
        for addr, entry in self._entries.items():
            if entry.settled and not entry.asking and entry.due_at <= now:
                entry.begin_round()
            server = self._choose(entry, servers, now) if entry.wants_more() else None
            if server is not None:
                entry.asking.add(server.peer)
                entry.ips.add(server.ip)
                self._asked.setdefault(server.peer, deque()).append(now)
                return Question(server, addr)
        return None

    def answered(
        self, question: Question, servers: Sequence[Server], *, reachable: bool | None, reason: str, now: float
    ) -> bool:
        """Take an answer (None: none that helps); says whether what is believed of the address has changed."""
        entry = self._entries.get(question.target)
        if entry is None or question.server.peer not in entry.asking:
            return False
        entry.asking.discard(question.server.peer)
        entry.answers[question.server.peer] = reachable
        if entry.asking or (entry.wants_more() and self._choose(entry, servers, now) is not None):
            return False
        before = entry.reachable
        entry.settle(reason, now=now)
        return before is not entry.reachable

    def avoid(self, peer: PeerId, *, now: float) -> None:
        """A server has no time for us."""
        self._avoided[peer] = now + limits.REACH_REJECTED_SECONDS

    def _choose(self, entry: _Entry, servers: Sequence[Server], now: float) -> Server | None:
        """Choose a server that this round has not asked, one behind another IP if there is one."""
        free = [
            server
            for server in servers
            if server.peer not in entry.answers
            and server.peer not in entry.asking
            and now >= self._avoided.get(server.peer, now)
            and len(self._asked.get(server.peer, ())) < limits.REACH_ASKED_PER_MINUTE
        ]
        return min(free, key=lambda server: server.ip in entry.ips, default=None)

    def _forget(self, now: float) -> None:
        for peer, times in list(self._asked.items()):
            while times and now - times[0] >= _MINUTE_SECONDS:
                times.popleft()
            if not times:
                del self._asked[peer]
        self._avoided = {peer: until for peer, until in self._avoided.items() if until > now}
