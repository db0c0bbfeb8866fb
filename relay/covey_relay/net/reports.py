"""`/covey/report/1` at the relay: punch reports of those who hold a slot, counted.

Owns: the stream's shell. Spec: docs/spec/report.md. Never touches: who holds a slot (the circuit service), how often
somebody may report (reports.py). Nothing of a report is kept but the sums, and no log line names who sent it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import Host, Stream
from covey_core.limits import REPORT_MESSAGE_BYTES
from covey_core.peers import PeerId
from covey_core.wire.report import REPORT_NAME, decode_report
from covey_relay import limits
from covey_relay.metrics import RelayMetrics
from covey_relay.reports import ReportAllowance, ReportRefusal

_log: Final = structlog.get_logger("covey.relay")


@asynccontextmanager
async def serve_reports(
    host: Host, *, holds_slot: Callable[[PeerId], bool], metrics: RelayMetrics
) -> AsyncIterator[None]:
    """Take punch reports on `host` for the length of the block."""
    reports = _Reports(holds_slot, metrics)
    protocol = host.network.protocol(REPORT_NAME)
    host.handle(protocol, reports.serve)
    try:
        yield
    finally:
        host.unhandle(protocol)


class _Reports:
    def __init__(self, holds_slot: Callable[[PeerId], bool], metrics: RelayMetrics) -> None:
        self._holds_slot = holds_slot
        self._metrics = metrics
        self._allowance = ReportAllowance()

    async def serve(self, stream: Stream) -> None:
        """Take one report: a clean end of the stream says that it was counted, a reset that it was not."""
        refusal = await self._take(stream)
        if refusal is not None:
            _log.debug("relay.report.refused", reason=refusal.value)
            await stream.reset()

    async def _take(self, stream: Stream) -> ReportRefusal | None:
        if stream.relayed or not self._holds_slot(stream.peer):
            return ReportRefusal.NO_RESERVATION
        if not self._allowance.take(stream.peer, now=trio.current_time()):
            return ReportRefusal.RATE
        try:
            with trio.fail_after(limits.REPORT_READ_SECONDS):
                frame = await stream.read_frame(limit=REPORT_MESSAGE_BYTES)
            if frame is None:
                return ReportRefusal.MALFORMED
            report = decode_report(frame)
        except (ProtocolViolation, StreamLost, trio.TooSlowError):
            return ReportRefusal.MALFORMED
        for kind, count in report.items():
            self._metrics.punches_reported(kind, count)
        return None
