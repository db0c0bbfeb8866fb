"""Where we can be reached from outside, and what our NAT does: asked of servers, looked up in what relays see.

Owns: the questions to AutoNAT servers, our candidate addresses, the look at what others observed. Spec:
docs/spec/autonat.md. Never touches: the judgements (protocol/nat_kind.py, protocol/reach_table.py), who is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

import trio

from covey_core.autonat import Answer, AutonatClient, Verdict
from covey_core.autonat.origins import ip_in
from covey_core.autonat.routes import is_ours
from covey_core.host import Host
from covey_core.host.contained import Contained, kind_of
from covey_core.logs import get_logger
from covey_core.peers import PeerId
from covey_core.wire.autonat import DIAL_REQUEST_PROTOCOL
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.net.interfaces import expand
from covey_node.net.lasting import note
from covey_node.protocol.nat_kind import NatKind, NatMemory, Seen, judge
from covey_node.protocol.reach_table import Question, ReachableAddr, ReachTable, Server

log = get_logger("node.reachability")

_SAYS = {Verdict.REACHABLE: True, Verdict.UNREACHABLE: False}


@dataclass(slots=True)
class ReachMetrics:
    """Who counts: what came of each question, the kind of NAT, the (IP version, transport) of reachable addresses."""

    asked: Callable[[str], None] = lambda _outcome: None
    nat: Callable[[NatKind], None] = lambda _kind: None
    reachable: Callable[[Iterable[tuple[str, str]]], None] = lambda _addrs: None


class Reachability:
    """What is known of our place on the network. `changed` is called when it changes."""

    def __init__(
        self,
        host: Host,
        autonat: AutonatClient,
        *,
        mapped: Callable[[], Collection[str]] = tuple,
        silent_over_quic: Callable[[], Collection[PeerId]] = tuple,
        metrics: ReachMetrics | None = None,
    ) -> None:
        """`mapped`: our addresses at the router; `silent_over_quic`: relays that answer over TCP and not over QUIC."""
        self._host = host
        self._autonat = autonat
        self._mapped = mapped
        self._silent = silent_over_quic
        self._metrics = metrics or ReachMetrics()
        self._memory = NatMemory()
        self._table = ReachTable()
        self._pause = trio.CancelScope()
        self._due = trio.Event()
        self.changed: Callable[[], None] = lambda: None

    @property
    def nat(self) -> NatKind:
        """What the NAT in front of this machine does."""
        return self._memory.kind

    def addrs(self) -> tuple[ReachableAddr, ...]:
        """Return every address under test; `checked_at` in Unix seconds."""
        wall = time.time() - trio.current_time()
        return tuple(
            one if one.checked_at is None else replace(one, checked_at=wall + one.checked_at)
            for one in self._table.addrs()
        )

    def public_addrs(self) -> tuple[str, ...]:
        """Return the addresses that others have reached from outside, each ending in /p2p/<our PeerId>."""
        return tuple(f"{addr}/p2p/{self._host.peer_id}" for addr in self._table.reachable())

    def network_changed(self) -> None:
        """Our interfaces have other addresses: what was judged was of another place, perhaps."""
        self._memory.forget()
        self._table.test_again(now=trio.current_time())
        self._pause.cancel()

    async def run(self) -> None:
        """Look and ask until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_on)
            with self._host.subscribe(identified=True) as events:
                while True:
                    self._look()
                    self._due.set()
                    with trio.move_on_after(limits.REACH_LOOK_SECONDS) as self._pause:
                        try:
                            await events.receive()
                        except trio.EndOfChannel:  # the host has closed
                            return
                        await trio.sleep(limits.REACH_SETTLE_SECONDS)
                        _drain(events)

    # --- what we look like ----------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = trio.current_time()
        seen = self._seen()
        silent_peers = frozenset(self._silent())
        silent = {one.observer_ip for peer, one in seen if peer in silent_peers}
        ours = {ip for ip in {one.ip for _, one in seen} if is_ours(ip)}
        by_relays = [one for _, one in self._by_relays(seen)]
        enough = len({one.observer_ip for one in by_relays}) >= limits.NAT_OBSERVERS_MIN
        views = by_relays if enough else (one for _, one in seen)
        kind = judge(views, own_ips=ours, silent_over_quic=silent)
        turned = self._memory.look(kind, now=now)
        if turned:
            log.info("node.nat.judged", kind=self.nat.value)
            self._metrics.nat(self.nat)
        if self._table.offer(self._candidates(seen), now=now) or turned:
            self._tell()

    def _seen(self) -> list[tuple[PeerId, Seen]]:
        """Return what those see who are outside themselves, and see us outside.

        A peer in our own site sees no NAT, and one that sees us on loopback would have us believe that there is none.
        """
        found = []
        for one in self._host.observations():
            observer, ours = ip_in(one.remote_addr), DirectAddr.parse(one.observed)
            if observer is None or ours is None or not self._is_outside(ours.ip):
                continue
            if self._is_outside(str(observer)):
                found.append((one.peer, Seen(str(observer), ours.ip, ours.port, ours.transport)))
        return found

    def _by_relays(self, seen: list[tuple[PeerId, Seen]]) -> list[tuple[PeerId, Seen]]:
        """Return the views of the network's relays, of everybody where it has none: strangers say what they like."""
        relays = {relay.peer for relay in self._host.network.relays}
        return [(peer, one) for peer, one in seen if peer in relays or not relays]

    def _candidates(self, seen: list[tuple[PeerId, Seen]]) -> list[DirectAddr]:
        """Return what may be reachable, the likeliest first: mapped, listened on, seen by others.

        Last our listening ports at the IP that others see: somebody may have forwarded them by hand.
        """
        listening = [addr for addr in map(DirectAddr.parse, expand(self._host.addrs)) if addr is not None]
        mapped = [addr for addr in map(DirectAddr.parse, self._mapped()) if addr is not None]
        seen = self._by_relays(seen)  # others may name a victim's
        observed = [_address(one) for _, one in seen]
        ports = {(addr.transport, addr.port) for addr in listening}
        if self.nat is NatKind.HARD:  # a port that one relay saw leads nowhere for anybody else
            observed = [addr for addr in observed if (addr.transport, addr.port) in ports]
        outside_ips = dict.fromkeys(one.ip for _, one in seen)
        forwarded = [
            replace(addr, ip=ip) for ip in outside_ips for addr in listening if (":" in ip) == (":" in addr.ip)
        ]
        every = dict.fromkeys((*mapped, *listening, *observed, *forwarded))
        return [addr for addr in every if self._is_outside(addr.ip)]

    def _is_outside(self, ip: str) -> bool:
        return self._host.network.scope.is_reachable_from_outside(ip)

    # --- what others say ------------------------------------------------------------------------------------------

    async def _ask_on(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            async with trio.open_nursery() as nursery:
                for _ in range(limits.REACH_AT_ONCE):
                    nursery.start_soon(self._ask_what_is_due)

    async def _ask_what_is_due(self) -> None:
        while (question := self._table.next_question(self._servers(), now=trio.current_time())) is not None:
            await self._ask(question)

    async def _ask(self, question: Question) -> None:
        with Contained() as outcome:
            answer = await self._autonat.ask(question.server.peer, question.target)
        if outcome.error is not None:  # nobody foresaw it; the question must be answered all the same
            note("autonat", outcome.error)
            answer = Answer(Verdict.FAILED, kind_of(outcome.error))
        now = trio.current_time()
        self._metrics.asked(answer.verdict.value)
        if answer.verdict is Verdict.REJECTED:
            self._table.avoid(question.server.peer, now=now)
        says = _SAYS.get(answer.verdict)
        if self._table.answered(question, self._servers(), reachable=says, reason=answer.reason, now=now):
            log.info("node.address.judged", transport=question.target.transport, reachable=says)
            self._tell()

    def _servers(self) -> tuple[Server, ...]:
        """Return who can be asked: the network's relays first, then others that are connected directly."""
        relays = {relay.peer for relay in self._host.network.relays}
        found: dict[PeerId, Server] = {}
        for info in self._host.connections():
            ip = ip_in(info.remote_addr)
            if info.relayed or not info.admitted or ip is None or not self._is_outside(str(ip)):
                continue
            if self._host.speaks(info.peer, DIAL_REQUEST_PROTOCOL):
                found.setdefault(info.peer, Server(info.peer, str(ip)))
        return tuple(sorted(found.values(), key=lambda server: server.peer not in relays))

    def _tell(self) -> None:
        self._metrics.reachable((addr.ip_version, addr.transport) for addr in self._table.reachable())
        self.changed()


def _address(seen: Seen) -> DirectAddr:
    return DirectAddr(seen.ip, "quic" if seen.transport == "quic" else "tcp", seen.port)


def _drain(events: trio.MemoryReceiveChannel[object]) -> None:
    while True:
        try:
            events.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return
