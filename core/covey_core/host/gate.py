"""What peers open: agree on a protocol, hold it back until the peer is admitted, contain what the handler raises.

Owns: the table of handlers (also of libp2p's own protocols) and who may come before admission. Every stream that a peer
opens comes through here. Spec: docs/spec/host.md. Never touches: what handlers do.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError

from covey_core.errors import CoveyError
from covey_core.host import limits, multistream
from covey_core.host.contained import Contained, kind_of, note_unforeseen, place_of, shielded
from covey_core.metrics import Unforeseen

_log: Final = structlog.get_logger("covey.host")

_EXPECTED: Final = (CoveyError, BaseLibp2pError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What peers do to streams; anything else that a handler raises is a bug."""

NetHandler = Callable[[Any], Awaitable[None]]


class Gate:
    """The door of all inbound streams. `handlers` is libp2p's own table, so that its protocols stand in it too."""

    def __init__(self, handlers: dict[Any, Any]) -> None:
        self._handlers = handlers
        self._open_early: set[str] = set()

    def add(self, protocol: str, handler: NetHandler, *, before_admission: bool) -> None:
        """Serve a protocol."""
        if before_admission:
            self._open_early.add(protocol)
        self._handlers[protocol] = handler

    def remove(self, protocol: str) -> None:
        """Serve it no longer."""
        self._open_early.discard(protocol)
        self._handlers.pop(protocol, None)

    async def serve(self, net: INetStream) -> None:
        """Take one stream from its negotiation to its end. Never raises."""
        protocol = ""
        done = False
        connection: Any = getattr(net, "swarm_conn", None)
        try:
            with Contained() as outcome:
                with trio.fail_after(limits.NEGOTIATE_SECONDS):
                    protocol = await multistream.answer(net, self._handlers)
                handler = self._handlers[protocol]
                net.set_protocol(protocol)  # type: ignore[arg-type]
                if protocol not in self._open_early:
                    await connection.wait_admitted(limits.OPEN_STREAM_SECONDS)
                await handler(net)
                done = True
            if outcome.error is not None:
                _log_failure(protocol, outcome.error)
        finally:
            if not done:
                with shielded(limits.CLOSE_SECONDS), Contained():
                    await net.reset()


def _log_failure(protocol: str, error: Exception) -> None:
    if isinstance(error, _EXPECTED):
        _log.debug("host.stream.ended", protocol=protocol, error=kind_of(error))
    else:
        note_unforeseen(Unforeseen.HANDLER)
        _log.error("host.handler.failed", protocol=protocol, error=kind_of(error), place=place_of(error))
