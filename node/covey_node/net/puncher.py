"""Direct connections out of relayed ones: serves and starts DCUtR.

Owns: who is punched with, one punch a peer at a time, the bound on all of them, the log of outcomes.
Spec: docs/spec/dcutr.md. Never touches: when a failed punch is tried again (the keeper asks for it), how it is made
(punch_run.py, protocol/dcutr.py, the host).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import trio

from covey_core.errors import CoveyError
from covey_core.host import Connected, ConnectionInfo, Host, Identified, Stream
from covey_core.logs import get_logger
from covey_core.peers import PeerId
from covey_core.wire.dcutr import DCUTR_PROTOCOL
from covey_node import limits
from covey_node.net.interfaces import expand
from covey_node.net.lasting import failed
from covey_node.net.punch_run import Beside, PunchRun
from covey_node.protocol.allowance import Allowance
from covey_node.protocol.dcutr import Initiator, Receiver
from covey_node.protocol.punch_addrs import candidates, nearby, outside, punchable
from covey_node.protocol.punch_log import Ending, PunchLog, PunchOutcome, Reason, Side

log = get_logger("node.puncher")

COVEY_AGENT = "covey/"
"""What the agent of a Covey begins with, in identify: it takes several exchanges on one stream."""

Knows = Callable[[PeerId], Awaitable[bool]]
"""Whether a peer is somebody to whom we show where we are, and whose site addresses we dial."""


class Puncher:
    """Upgrades relayed connections. Without `knows` everybody is punched with, and nobody dialed at home."""

    def __init__(
        self,
        host: Host,
        own_addrs: Callable[[], tuple[str, ...]],
        on_outcome: Callable[[PunchOutcome], None] = lambda _outcome: None,
        *,
        knows: Knows | None = None,
    ) -> None:
        self._host = host
        self._own_addrs = own_addrs
        self._on_outcome = on_outcome
        self._knows = knows
        self._runs: dict[PeerId, PunchRun] = {}
        self._failures = Allowance(
            per_key=limits.PUNCH_FAILURES_PER_PEER_PER_MINUTE,
            in_all=limits.PUNCH_FAILURES_PER_MINUTE,
            window_seconds=60,
            keys_max=limits.STRANGERS_KEPT,
        )
        self._heard = trio.Event()
        self._acquainted = trio.Event()
        self._strangers: set[PeerId] = set()
        self.log = PunchLog()
        self.nat: Callable[[], str | None] = lambda: None
        """What our NAT does (METRICS: `nat`), told to those we punch with; None: not told."""
        host.handle(DCUTR_PROTOCOL, self._serve)

    async def run(self) -> None:
        """Start a punch on each relayed connection that comes in, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_again, nursery)
            with self._host.subscribe(identified=True) as events:
                for connection in self._host.connections():
                    if connection.admitted:
                        self._came(connection, nursery)
                async for event in events:
                    if isinstance(event, Connected):
                        self._came(event.connection, nursery)
                    elif isinstance(event, Identified):
                        self._heard.set()
                        self._heard = trio.Event()
                        if event.peer in self._runs:
                            self._runs[event.peer].identified.set()

    def acquainted(self) -> None:
        """Somebody became known: whoever was a stranger when its connection came is looked at again."""
        self._acquainted.set()

    async def _ask_again(self, nursery: trio.Nursery) -> None:
        while True:
            await self._acquainted.wait()
            self._acquainted = trio.Event()
            strangers, self._strangers = self._strangers, set()
            for connection in self._host.connections():
                if connection.peer in strangers and connection.admitted:
                    self._came(connection, nursery)

    def _came(self, connection: ConnectionInfo, nursery: trio.Nursery) -> None:
        run = self._runs.get(connection.peer)
        if not connection.relayed:
            if run is not None:
                run.stands(connection)
        elif connection.inbound and run is None and not self._directly(connection.peer):
            nursery.start_soon(failed, "punch", partial(self._initiate, connection))

    async def punch(self, peer: PeerId) -> PunchOutcome:
        """Try once more; returns how it ended. Only who received the relayed connection that stands may start.

        Otherwise, and while the peer failed too often, the outcome says so and nothing was done.
        """
        standing = self._host.connections(peer)
        relayed = [one for one in standing if one.relayed and one.inbound and one.admitted]
        if self._directly(peer):
            return _nothing(peer, Ending.DIRECT)
        if not relayed:
            return _nothing(peer, Ending.CANCELLED, Reason.NOT_OURS_TO_START if standing else Reason.NO_RESERVATION)
        if peer in self._runs:
            return _nothing(peer, Ending.CANCELLED)
        return await self._initiate(relayed[0])

    async def _initiate(self, connection: ConnectionInfo) -> PunchOutcome:
        peer = connection.peer
        if not await self._is_welcome(peer):
            self._strangers = {one for one in self._strangers if self._host.connections(one)} | {peer}
            return _nothing(peer, Ending.CANCELLED)
        if peer in self._runs or self._directly(peer):
            return _nothing(peer, Ending.CANCELLED)
        if len(self._runs) >= limits.PUNCHES_MAX or not self._may_fail(peer):
            return self._note(_nothing(peer, Ending.FAILED, Reason.BACKOFF))
        run = PunchRun(
            self._host,
            peer,
            Initiator(self._own_addrs, self._choose, partial(self._is_covey, peer)),
            connection=connection.number,
            nat=self.nat,
        )
        return await self._carry_out(run, beside=partial(self._dial_plainly, run))

    async def _is_welcome(self, peer: PeerId) -> bool:
        """Whether we punch with a peer; returns when we have something to tell it, after a second at the latest."""
        if self._knows is not None and not await self._knows(peer):
            return False
        with trio.move_on_after(limits.PUNCH_IDENTIFY_SECONDS):
            while not self._own_addrs():  # the relay has not said yet where it sees us
                await self._heard.wait()
        return True

    async def _dial_plainly(self, run: PunchRun, nursery: trio.Nursery) -> None:
        """Step 0: wait for what the peer says of itself, and dial it where that needs no hole."""
        peer, scope = run.peer, self._host.network.scope
        if self._host.agent(peer) is None:
            with trio.move_on_after(limits.PUNCH_IDENTIFY_SECONDS):
                await run.identified.wait()
        named = self._host.listen_addrs_of(peer)
        if self._knows is not None and (close := nearby(named, expand(self._host.addrs), scope=scope)):
            nursery.start_soon(self._dial, run, close)
        if far := outside(named, scope=scope):
            await self._dial(run, far)

    async def _dial(self, run: PunchRun, addrs: Sequence[str]) -> None:
        try:
            await self._host.connect(run.peer, addrs, timeout_seconds=limits.PUNCH_DIRECT_SECONDS)
        except CoveyError as exc:
            log.debug("node.punch.not_reached_directly", problem=type(exc).__name__)
        for connection in self._host.connections(run.peer):
            if connection.admitted and not connection.relayed:
                run.stands(connection)

    async def _serve(self, stream: Stream) -> None:
        """A peer starts: only the one that received the relayed connection may, as in go-libp2p and rust-libp2p."""
        peer = stream.peer
        if not self._is_theirs_to_start(stream) or self._directly(peer) or not await self._is_welcome(peer):
            await stream.reset()
            return
        if (
            not await self._make_way(peer)
            or peer in self._runs
            or len(self._runs) >= limits.PUNCHES_MAX
            or not self._may_fail(peer)
        ):
            await stream.reset()
            return
        run = PunchRun(self._host, peer, Receiver(self._own_addrs, self._choose), connection=None, nat=self.nat)
        await self._carry_out(run, stream=stream)

    def _is_theirs_to_start(self, stream: Stream) -> bool:
        """Whether the stream came on a relayed connection that we dialed."""
        if not stream.relayed:
            return False
        return any(one.relayed and not one.inbound for one in self._host.connections(stream.peer))

    async def _make_way(self, peer: PeerId) -> bool:
        """End what is under way with the peer if its start goes before: False when ours does.

        Both start at once when each received a relayed connection of the other; then the smaller PeerId's punch is
        made. A peer that starts anew has given up what it started before.
        """
        run = self._runs.get(peer)
        if run is None:
            return True
        if run.side is Side.INITIATOR and not (peer < self._host.peer_id and run.may_yield):
            return False
        run.stop()
        await run.over.wait()
        return True

    async def _carry_out(
        self, run: PunchRun, *, stream: Stream | None = None, beside: Beside | None = None
    ) -> PunchOutcome:
        self._runs[run.peer] = run
        try:
            outcome = await run.run(stream, beside=beside)
        finally:
            del self._runs[run.peer]
            run.over.set()
        for _ in range(outcome.attempts - (outcome.outcome is Ending.SUCCESS)):
            self._failures.take(run.peer, now=trio.current_time())
        return self._note(outcome)

    def _note(self, outcome: PunchOutcome) -> PunchOutcome:
        if outcome.outcome is not Ending.CANCELLED or outcome.attempts:
            self.log.add(outcome)
            self._on_outcome(outcome)
        log.debug("node.punch.ended", outcome=outcome.outcome.value, side=outcome.side.value, attempts=outcome.attempts)
        return outcome

    def _may_fail(self, peer: PeerId) -> bool:
        return self._failures.has_room(peer, now=trio.current_time())

    def _choose(self, told: Sequence[bytes], ours: Sequence[str]) -> tuple[str, ...]:
        return punchable(told, ours, scope=self._host.network.scope)

    def _is_covey(self, peer: PeerId) -> bool:
        return (self._host.agent(peer) or "").startswith(COVEY_AGENT)

    def _directly(self, peer: PeerId) -> bool:
        return any(not one.relayed and one.admitted for one in self._host.connections(peer))


def own_addrs(
    host: Host, *, mapped: Sequence[str] = (), observers: Collection[PeerId] | None = None
) -> tuple[str, ...]:
    """Return what we tell peers to punch to, by what `observers` (our relays) see on connections that stand."""
    standing = sorted(host.connections(), key=lambda one: one.opened_at)
    seen = [one for one in standing if one.from_listen_port and one.admitted]
    return candidates(seen, expand(host.addrs), mapped, scope=host.network.scope, observers=observers)


def _nothing(peer: PeerId, ending: Ending, reason: Reason | None = None) -> PunchOutcome:
    return PunchOutcome(peer=peer, at=time.time(), side=Side.INITIATOR, attempts=0, outcome=ending, reason=reason)
