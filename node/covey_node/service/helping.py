"""A node that can be reached from outside helps those that cannot: it serves circuits and AutoNAT, a little of each.

Owns: when that begins and ends. Spec: docs/spec/autonat.md, "Every public node helps"; docs/adr/0054.
Never touches: whether we are public (net/reachability.py), the services themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from covey_core.autonat import NODE_LIMITS, serve_autonat
from covey_core.host import Host
from covey_core.identity import Identity
from covey_core.logs import get_logger
from covey_node import limits
from covey_relay.service import AddressCaps, RelayLimits, RelayService, open_relay_service

log = get_logger("node.helping")

HELPER_LIMITS = RelayLimits(
    reservations=limits.HELP_RESERVATIONS,
    reservations_per_address=AddressCaps(*(limits.HELP_RESERVATIONS_PER_IP,) * 3),
    circuits=limits.HELP_CIRCUITS,
    circuits_per_peer=limits.HELP_CIRCUITS,
    circuits_per_pair=limits.HELP_CIRCUITS_PER_PAIR,
    circuits_per_address=AddressCaps(*(limits.HELP_CIRCUITS,) * 3),
    circuit_seconds=limits.HELP_CIRCUIT_SECONDS,
    circuit_bytes=limits.HELP_CIRCUIT_BYTES,
)
"""What a node gives, beside what it needs for itself."""


@dataclass(slots=True)
class Steadily:
    """Something that counts only when it has held for a while."""

    seconds: float
    since: float | None = None

    def look(self, *, holds: bool, now: float) -> bool:
        """Say whether it has held without a break for `seconds`."""
        if not holds:
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since >= self.seconds


class Helping:
    """Helps others as long as this node is public. `service` is there while it does."""

    def __init__(
        self,
        host: Host,
        identity: Identity,
        public_addrs: Callable[[], tuple[str, ...]],
        *,
        bounds: RelayLimits = HELPER_LIMITS,
    ) -> None:
        """`identity` is the host's own; `public_addrs` are the addresses at which others have reached us."""
        self._host = host
        self._identity = identity
        self._public_addrs = public_addrs
        self._bounds = bounds
        self.service: RelayService | None = None

    async def run(self) -> None:
        """Help whenever it is of use, until cancelled."""
        while True:
            await self._until(limits.HELP_START_SECONDS, public=True)
            log.info("node.help.started")
            try:
                async with (
                    open_relay_service(
                        self._host, identity=self._identity, limits=self._bounds, addrs=self._public_addrs
                    ) as self.service,
                    serve_autonat(self._host, bounds=NODE_LIMITS),
                ):
                    await self._until(limits.HELP_STOP_SECONDS, public=False)
            finally:
                self.service = None
                log.info("node.help.ended")

    async def _until(self, seconds: float, *, public: bool) -> None:
        """Wait until we have been public, or not public, for that long. It must not flap: circuits hang on it."""
        steadily = Steadily(seconds)
        while True:
            if steadily.look(holds=bool(self._public_addrs()) is public, now=trio.current_time()):
                return
            await trio.sleep(limits.HELP_LOOK_SECONDS)
