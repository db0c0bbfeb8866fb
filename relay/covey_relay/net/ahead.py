"""`/covey/<8 hex>/ahead/1` at the relay: records signed ahead are taken, and put into the DHT on their day.

Owns: the stream's shell, who may ask how often, the task that publishes. Spec: docs/spec/ahead.md. Never touches: what
lies there (covey_relay.ahead). No log line and no file names who left what.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
import trio

from covey_core.errors import CoveyError, FileDamaged, ProtocolViolation, StreamLost
from covey_core.host import Host, Stream
from covey_core.limits import AHEAD_ANSWER_BYTES, AHEAD_REQUEST_BYTES, AHEAD_RETRY_SECONDS
from covey_core.records import decode_record, record_key
from covey_core.wire.ahead import (
    AHEAD_NAME,
    AheadAnswer,
    AheadOutcome,
    AheadRequest,
    Leave,
    Withdraw,
    begin_of,
    decode_request,
    encode_answer,
    verify_ahead,
    verify_withdrawal,
)
from covey_relay import limits
from covey_relay.addresses import ip_in, origins_of
from covey_relay.ahead.table import AheadFailed, AheadTable, Due, Kept
from covey_relay.limits import AheadLimits
from covey_relay.mailbox.allowance import Allowance, Buckets
from covey_relay.metrics import AheadPublication, RelayMetrics

_log: Final = structlog.get_logger("covey.relay")

T = TypeVar("T")


class Publisher(Protocol):
    """The DHT, as far as it is needed here."""

    async def get(self, key: str) -> tuple[bytes, ...]:
        """Return the values under a key, the best first."""

    async def put(self, key: str, value: bytes) -> int:
        """Put a value; return how many hold it."""


@asynccontextmanager
async def serve_ahead(
    host: Host,
    dht: Publisher,
    path: Path,
    *,
    metrics: RelayMetrics,
    bounds: AheadLimits | None = None,
    wall_clock: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> AsyncIterator[Ahead]:
    """Take records signed ahead on `host` and publish them through `dht`, for the length of the block.

    They lie in the file `path`. Raises `FileDamaged`, `AheadFailed`, `SettingsInvalid` when it cannot be used.
    """
    table = await trio.to_thread.run_sync(AheadTable, path, bounds or AheadLimits())
    ahead = Ahead(host, dht, table, metrics, wall_clock, rng or random.SystemRandom())
    protocol = host.network.protocol(AHEAD_NAME)
    metrics.watch_ahead(records=lambda: table.usage[0], size=lambda: table.usage[1])
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ahead.run)
            host.handle(protocol, ahead.serve)
            try:
                yield ahead
            finally:
                host.unhandle(protocol)
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await ahead.close()


class Ahead:
    """The service of one relay. Made by `serve_ahead`."""

    def __init__(
        self,
        host: Host,
        dht: Publisher,
        table: AheadTable,
        metrics: RelayMetrics,
        wall_clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._relay = host.peer_id
        self._dht = dht
        self._table = table
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._rng = rng
        self._thread = trio.CapacityLimiter(1)
        self._open = 0
        self._asked = Allowance(
            rate=limits.AHEAD_RATE,
            burst=limits.AHEAD_BURST,
            factor=limits.AHEAD_ADDRESS_FACTOR,
            keys_max=limits.AHEAD_SEEN,
        )
        self._added = Buckets(rate=limits.AHEAD_NEW_RATE, burst=limits.AHEAD_NEW_BURST, keys_max=limits.AHEAD_SEEN)

    # --- streams ------------------------------------------------------------------------------------------------------

    async def serve(self, stream: Stream) -> None:
        """Answer one request; one that is malformed, signed by somebody else, slow or one too many is reset."""
        if self._open >= limits.AHEAD_STREAMS:
            await stream.reset()
            return
        self._open += 1
        try:
            await self._serve(stream)
        finally:
            self._open -= 1

    async def _serve(self, stream: Stream) -> None:
        try:
            with trio.fail_after(limits.AHEAD_READ_SECONDS):
                frame = await stream.read_frame(limit=AHEAD_REQUEST_BYTES)
            if frame is None:
                return
            answer = await self._answer(stream, decode_request(frame))
            with trio.fail_after(limits.AHEAD_WRITE_SECONDS):
                await stream.write_frame(encode_answer(answer), limit=AHEAD_ANSWER_BYTES)
        except (ProtocolViolation, StreamLost, trio.TooSlowError) as exc:
            _log.debug("relay.ahead.refused", problem=type(exc).__name__)
            await stream.reset()

    async def _answer(self, stream: Stream, request: AheadRequest) -> AheadAnswer:
        groups = (stream.peer,) if stream.relayed else tuple(origins_of(ip_in(stream.remote_addr)))
        wait = self._asked.take(stream.peer, groups, now=trio.current_time())
        if wait > 0.0:
            answer = _busy(wait)
        else:
            try:
                match request:
                    case Leave():
                        answer = await self._leave(request, groups)
                    case Withdraw():
                        verify_withdrawal(request, relay=self._relay)
                        table, key, sequence = self._table, request.day_key, request.sequence
                        answer = AheadAnswer(await self._do(lambda: table.withdraw(key, sequence)))
            except (AheadFailed, FileDamaged) as exc:
                _log.warning("relay.ahead.failed", problem=str(exc))
                answer = _busy(limits.AHEAD_BUSY_SECONDS)
        self._metrics.ahead_answered(request, answer.outcome)
        return answer

    async def _leave(self, request: Leave, groups: tuple[Hashable, ...]) -> AheadAnswer:
        day, record = verify_ahead(request.value)
        clock = trio.current_time()
        wait = max((self._added.wait_seconds(group, now=clock) for group in groups), default=0.0)
        now = math.floor(self._wall_clock())
        due = max(now, begin_of(day)) + self._rng.randrange(limits.AHEAD_PUBLISH_SPREAD_SECONDS)
        kept: Kept = await self._do(
            partial(self._table.leave, day, record, request.value, now=now, due=due, may_add=wait <= 0.0)
        )
        if kept.added:
            for group in groups:
                self._added.take(group, now=clock)
            return AheadAnswer(AheadOutcome.ADDED)
        return _busy(wait) if kept.outcome is AheadOutcome.BUSY else AheadAnswer(kept.outcome)

    # --- publishing ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish what is due and delete what is over, until cancelled."""
        while True:
            await trio.sleep(limits.AHEAD_LOOK_SECONDS)  # at the start the DHT is being joined
            try:
                await self.publish_due()
            except (AheadFailed, FileDamaged) as exc:
                _log.warning("relay.ahead.failed", problem=str(exc))

    async def publish_due(self) -> int:
        """Delete what is over, publish all that is due now; return how many were put into the DHT."""
        now = math.floor(self._wall_clock())
        while await self._do(lambda: self._table.expire(now=now, count=limits.AHEAD_EXPIRE_BATCH)):
            pass
        published = 0
        while batch := await self._do(lambda: self._table.due(now=now, count=limits.AHEAD_PUBLISH_BATCH)):
            again: list[tuple[Due, AheadPublication, int]] = []
            places = trio.CapacityLimiter(limits.AHEAD_PUBLISH_AT_ONCE)
            async with trio.open_nursery() as nursery:
                for one in batch:
                    nursery.start_soon(self._publish, one, again, places)
            await self._do(partial(self._table.put_off, [(one, now + pause) for one, _, pause in again]))
            published += sum(what is AheadPublication.PUBLISHED for _, what, _ in again)
        return published

    async def _publish(
        self, one: Due, again: list[tuple[Due, AheadPublication, int]], places: trio.CapacityLimiter
    ) -> None:
        async with places:
            outcome, holders = await self._put(one)
        self._metrics.ahead_published(outcome)
        spread = limits.AHEAD_PUBLISH_SPREAD_SECONDS
        pause = limits.AHEAD_PUBLISH_SECONDS + self._rng.randrange(-spread, spread + 1)
        if outcome is not AheadPublication.NEWER and holders < limits.AHEAD_HOLDERS_MIN:
            pause = limits.AHEAD_RETRY_SECONDS
        again.append((one, outcome, pause))

    async def _put(self, one: Due) -> tuple[AheadPublication, int]:
        """Look, then put; return what became of it and how many hold the record now."""
        key = record_key(one.day_key)
        try:
            found = await self._dht.get(key)
            if found and decode_record(found[0]).sequence > one.sequence:
                return AheadPublication.NEWER, 0
            holders = await self._dht.put(key, one.value)
        except CoveyError as exc:
            _log.debug("relay.ahead.not_published", problem=type(exc).__name__)
            return AheadPublication.UNREACHED, 0
        return (AheadPublication.PUBLISHED if holders else AheadPublication.UNREACHED), holders

    # --- the table, in its thread -------------------------------------------------------------------------------------

    async def _do(self, function: Callable[[], T]) -> T:
        with trio.CancelScope(shield=True):  # what began is finished, and counted
            return await trio.to_thread.run_sync(function, limiter=self._thread)

    async def close(self) -> None:
        """Close the file, after whatever is being done with it."""
        await self._do(self._table.close)


def _busy(seconds: float) -> AheadAnswer:
    return AheadAnswer(AheadOutcome.BUSY, min(math.ceil(seconds), AHEAD_RETRY_SECONDS))
