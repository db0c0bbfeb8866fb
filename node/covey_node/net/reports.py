"""Punch reports to relays, for nodes whose user opted in (COVEY_NODE_REPORT_PUNCHES=on).

Owns: the stream to a relay. Spec: docs/spec/report.md. Never touches: what is reported when (protocol/report_batch.py),
which relays keep a slot for us.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from covey_core.errors import CoveyError, StreamLost
from covey_core.host import Host
from covey_core.limits import REPORT_MESSAGE_BYTES
from covey_core.logs import get_logger
from covey_core.peers import PeerId
from covey_core.wire.report import REPORT_NAME, NatPair, PunchKind, PunchOutcome, PunchTransport, encode_report
from covey_node import limits
from covey_node.protocol.report_batch import ReportBatch

log = get_logger("node.reports")


class Punch(Protocol):
    """The end of a hole punch."""

    @property
    def peer(self) -> PeerId:
        """With whom."""

    @property
    def outcome(self) -> str:
        """How it ended."""

    @property
    def transport(self) -> str | None:
        """What carries the connection that it made."""

    @property
    def their_nat(self) -> str | None:
        """What the peer's NAT does, by its word."""


class PunchReports:
    """Takes outcomes, and tells a relay that keeps a slot for us, some time later and all together.

    `held` returns those relays; `nat_pair` takes the peer's NAT kind and returns METRICS' `nat_pair`.
    """

    def __init__(
        self,
        host: Host,
        held: Callable[[], Sequence[PeerId]],
        *,
        nat_pair: Callable[[str | None], str] = lambda _theirs: NatPair.UNKNOWN,
        rng: random.Random | None = None,
    ) -> None:
        self._host = host
        self._held = held
        self._nat_pair = nat_pair
        self._rng = rng or random.SystemRandom()
        self._batch = ReportBatch(self._rng.random)
        self._more = trio.Event()

    def punch_finished(self, punch: Punch) -> None:
        """Take the end of a hole punch; one that was cancelled is not told."""
        try:
            outcome = PunchOutcome(punch.outcome)
        except ValueError:
            return
        kind = PunchKind(outcome, _transport(punch.transport), NatPair(self._nat_pair(punch.their_nat)))
        self._batch.add(punch.peer, kind, now=trio.current_time())
        self._more.set()

    async def run(self) -> None:
        """Report until cancelled. A report that fails is not repeated: it could be counted twice."""
        while True:
            deadline = self._batch.next_deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                await self._more.wait()
            self._more = trio.Event()
            relays = self._held()
            if not relays:
                await trio.sleep(limits.REPORT_RETRY_SECONDS)
                self._more.set()
                continue
            report = self._batch.due(now=trio.current_time())
            if report is not None:
                await self._send(self._rng.choice(relays), report)

    async def _send(self, relay: PeerId, report: Mapping[PunchKind, int]) -> None:
        try:
            with trio.fail_after(limits.REPORT_SECONDS):
                stream = await self._host.open_stream(relay, self._host.network.protocol(REPORT_NAME))
                try:
                    await stream.write_frame(encode_report(report), limit=REPORT_MESSAGE_BYTES)
                    await stream.close_write()
                    if await stream.read_frame(limit=REPORT_MESSAGE_BYTES) is not None:
                        raise StreamLost("an answer where none belongs")
                finally:
                    with trio.CancelScope(shield=True), trio.move_on_after(1):
                        await stream.close()
        except (CoveyError, trio.TooSlowError) as exc:
            log.debug("node.report.lost", problem=type(exc).__name__)
        else:
            log.debug("node.report.told", punches=sum(report.values()))


def _transport(name: str | None) -> PunchTransport:
    try:
        return PunchTransport(name or "")
    except ValueError:
        return PunchTransport.OTHER
