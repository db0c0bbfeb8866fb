"""The paths to one device: which one to use, which one to ask whether it lives, which one to give up.

Owns: the table of standing connections to one device and every decision about them. Spec: docs/spec/paths.md.
Never touches: sockets, trio, the clock (callers pass `now`), randomness (injected).

    new ──answered──> standby ──better than what is used, or that died──> used
     │ └──nothing else stands──────────────────────────────────────────> used
     └──two misses──> dead <──two misses── standby, used        (closed: out of the table)
"""

from __future__ import annotations

import math
from collections.abc import Callable

from covey_node import limits
from covey_node.protocol.path_facts import Action, Drop, PathFacts, PathView, Probe, Punch, Renew, Wait
from covey_node.protocol.path_state import PathState
from covey_node.protocol.path_trust import PathTrust
from covey_node.protocol.punch_timing import PunchTiming


class PathTable:
    """One device's paths. Call `next` after every event and act on what it says until it says `Wait`."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._paths: dict[int, PathState] = {}
        self._trust = PathTrust()
        self._punch = PunchTiming(random)
        self._used: int | None = None
        self._used_since = 0.0
        self._in_flight = False
        self._progress_at = -math.inf
        self.switches = 0

    # --- what happens ---------------------------------------------------------------------------------------------

    def opened(self, facts: PathFacts, *, now: float) -> None:
        """A connection stands. Of one that is known already, the kind may have become known since."""
        known = self._paths.get(facts.number)
        if known is None:
            self._paths[facts.number] = PathState(facts, now)
            self._changed(now)
        else:
            known.facts = facts

    def closed(self, number: int, *, now: float) -> None:
        """A connection ended. That of the path in use counts as a failure unless another of its class stands."""
        path = self._paths.pop(number, None)
        if path is None:
            return
        if number == self._used and not path.dead and not self._replaced(path, now):
            self._trust.failed(path.facts.key, now=now)
        self._changed(now)

    def in_flight(self, *, flag: bool, now: float) -> bool:
        """Packets are on their way to the device, or none are any more; whether that is news."""
        if flag is self._in_flight:
            return False
        self._in_flight = flag
        if flag:
            self._progress_at = now
        return True

    def progressed(self, number: int, *, now: float) -> None:
        """A packet was acknowledged over this path: it lives, whatever a probe says."""
        self._progress_at = now
        path = self._paths.get(number)
        if path is not None and not path.dead:
            self._heard(path, now)

    def carried(self, number: int, size: int, *, now: float) -> bool:
        """`size` bytes were written to the path; whether that used it up so far that another is due."""
        path = self._paths.get(number)
        if path is None:
            return False
        fresh = not path.is_stale(now)
        path.sent_bytes += size
        return fresh and path.is_stale(now)

    def probing(self, number: int, *, now: float) -> None:
        """The probe that `next` asked for goes out."""
        path = self._paths.get(number)
        if path is None:
            return
        if path.asked_at is None:
            path.asked_at = path.probed_at = now
            path.ask_now = False
        else:
            path.misses = 1

    def answered(self, number: int, seconds: float, *, now: float) -> None:
        """A probe was answered after `seconds`."""
        path = self._paths.get(number)
        if path is not None and not path.dead:
            path.rtt = seconds
            self._heard(path, now)

    def doubted(self, *, now: float) -> None:
        """Something hints that the path in use is dead: the peer writes to us over a worse one."""
        path = self._current()
        if path is not None and now - max(path.heard_at, path.probed_at) >= limits.PATH_PROBE_SECONDS:
            path.ask_now = True

    def renewing(self, number: int, *, now: float) -> None:
        """The circuit that `next` asked for is being opened."""
        path = self._paths.get(number)
        if path is not None:
            path.renewed_at = now

    def punching(self) -> None:
        """The punch that `next` asked for is being made."""
        self._punch.started()

    def punched(self, *, now: float) -> None:
        """The punch is over, however it ended."""
        self._punch.ended(now=now)

    def network_changed(self, *, now: float) -> None:
        """Our addresses changed: ask every path, forgive all, punch soon."""
        self._trust.forgive_all()
        self._punch.network_changed(now=now)
        for path in self._paths.values():
            path.heard_at, path.ask_now = -math.inf, True

    # --- what to do -----------------------------------------------------------------------------------------------

    @property
    def used(self) -> int | None:
        """The connection to use now; None when none stands."""
        return self._used

    @property
    def numbers(self) -> frozenset[int]:
        """The connections that the table knows."""
        return frozenset(self._paths)

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands and nothing is on its way."""
        return not self._paths and not self._in_flight

    def next(self, *, now: float) -> Action:
        """Return what to do at `now`; tell what was done (`probing`, `renewing`, `punching`) before asking again."""
        self._expire(now)
        self._changed(now)
        until = math.inf
        for path in self._paths.values():
            if path.dead:
                if not path.dropped:
                    path.dropped = True
                    return Drop(path.facts.number)
                continue
            due = self._probe_due(path, now)
            if now >= due:
                return Probe(path.facts.number)
            until = min(until, due, path.miss_due)
        used = self._current()
        due = math.inf if used is None else used.renew_due
        if used is not None and now >= due:
            return Renew(used.facts.number)
        until = min(until, due, self._settled_due(now))
        punch = self._punch.next_due()
        if punch is not None:
            if now >= punch:
                return Punch()
            until = min(until, punch)
        return Wait(until)

    def view(self, *, now: float) -> tuple[PathView, ...]:
        """Return the paths, the one in use first, then the better ones."""
        order = sorted(self._paths.values(), key=lambda path: (path.facts.number != self._used, path.rank(now)))
        return tuple(
            PathView(
                path.facts.number,
                path.facts.kind,
                path.facts.via,
                path.word(used=path.facts.number == self._used),
                path.rtt,
                self._trust.failures(path.facts.key),
                max(0.0, self._trust.free_at(path.facts.key) - now),
            )
            for path in order
        )

    # --- the decisions --------------------------------------------------------------------------------------------

    def _probe_due(self, path: PathState, now: float) -> float:
        if path.asked_at is not None:
            return path.asked_at + limits.PATH_FIRST_MISS_SECONDS if not path.misses else math.inf
        if path.ask_now:
            return -math.inf
        due = max(path.heard_at, path.probed_at) + limits.PATH_PROBE_IDLE_SECONDS
        used = self._current()
        if path is used:
            return min(due, self._packet_due(path)) if self._in_flight else due
        if used is not None and used.misses:  # it may be needed in a moment: is it alive?
            due = min(due, path.probed_at + limits.PATH_PROBE_SECONDS)
        free_at = self._trust.free_at(path.facts.key)
        if used is not None and path.rank(now) < used.rank(now) and path.heard_at < free_at:
            due = min(due, max(free_at, path.probed_at + limits.PATH_PROBE_SECONDS))
        return due

    def _packet_due(self, path: PathState) -> float:
        """Return when the path in use is asked because packets are under way on it."""
        since = max(self._progress_at, self._used_since)
        if path.probed_at <= since:
            return since + limits.PATH_FIRST_PROBE_SECONDS
        return path.probed_at + limits.PATH_PROBE_SECONDS

    def _settled_due(self, now: float) -> float:
        """Return when the path in use has lasted; until then its kind's failures are remembered."""
        path = self._current()
        if path is None or not self._trust.failures(path.facts.key):
            return math.inf
        return max(now, self._used_since + limits.PATH_FORGIVEN_SECONDS)

    def _expire(self, now: float) -> None:
        for path in self._paths.values():
            if path.misses and not path.dead and now >= path.miss_due:
                path.dead = True
                self._trust.failed(path.facts.key, now=now)

    def _heard(self, path: PathState, now: float) -> None:
        path.heard_at = now
        path.asked_at = None
        path.misses = 0
        self._changed(now)

    def _changed(self, now: float) -> None:
        """Choose again, after anything happened."""
        alive = [path for path in self._paths.values() if not path.dead]
        used = self._current()
        if not alive:
            self._used = None
            self._trust.forgive_all()  # the device or the network went, no path of a kind
        elif used is None:
            self._use(min(alive, key=lambda path: self._last_resort(path, now)), now)
        else:
            better = [path for path in alive if self._may_replace(path, used, now)]
            if better:
                self._use(min(better, key=lambda path: (path.rank(now), -path.facts.number)), now)
            elif now >= self._used_since + limits.PATH_FORGIVEN_SECONDS:
                self._trust.lasted(used.facts.key)
        self._punch.paths_changed(
            direct=any(not path.facts.relayed for path in alive),
            startable=any(path.facts.startable for path in alive),
            now=now,
        )

    def _may_replace(self, path: PathState, used: PathState, now: float) -> bool:
        proven_since = self._trust.free_at(path.facts.key)
        proven = path.is_proven and path.heard_at >= proven_since and not path.is_silent(now)
        return proven and path.rank(now) < used.rank(now)

    def _last_resort(self, path: PathState, now: float) -> tuple[bool, bool, bool, bool, int, int]:
        """Return how the paths are ordered when the one in use died: what is likely to live comes first."""
        punished = now < self._trust.free_at(path.facts.key)
        return (
            bool(path.misses),
            path.is_silent(now),
            not path.is_proven,
            punished,
            path.rank(now),
            -path.facts.number,
        )

    def _use(self, path: PathState, now: float) -> None:
        self._used, self._used_since = path.facts.number, now
        self.switches += 1

    def _current(self) -> PathState | None:
        path = self._paths.get(self._used) if self._used is not None else None
        return None if path is None or path.dead else path

    def _replaced(self, path: PathState, now: float) -> bool:
        """Whether a path as good as the one that closed stands: it was surplus, no failure."""
        return any(not one.dead and one.rank(now) <= max(path.rank(now), 2) for one in self._paths.values())
