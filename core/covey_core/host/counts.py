"""The host's numbers, as METRICS.md names them.

Owns: the translation from connections and errors to label values. Spec: METRICS "All three".
Never touches: the registry.
"""

import trio
from libp2p.transport.exceptions import MuxerUpgradeFailure, SecurityUpgradeFailure
from multiaddr import Multiaddr

from covey_core.host import addresses
from covey_core.host.connection import Connection
from covey_core.host.contained import system_error_in
from covey_core.metrics import CoreMetrics, DialError, Direction, IpVersion, Resource, Transport


class Counts:
    """Counts into `CoreMetrics`, or into nothing when there are none."""

    def __init__(self, metrics: CoreMetrics | None) -> None:
        self._metrics = metrics
        self._open: set[int] = set()

    @property
    def open_connections(self) -> int:
        """Connections that were counted as opened and not yet as closed."""
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """Count a connection that came into the table."""
        self._open.add(connection.number)
        if self._metrics is not None:
            self._metrics.connection_opened(
                _direction(inbound=connection.inbound), _transport(connection.remote), _ip_version(connection)
            )

    def closed(self, connection: Connection) -> None:
        """Count its end, once."""
        if connection.number in self._open:
            self._open.remove(connection.number)
            if self._metrics is not None:
                self._metrics.connection_closed(_direction(inbound=connection.inbound))

    def refused(self, *, inbound: bool) -> None:
        """Count a connection that a limit refused."""
        if self._metrics is not None:
            self._metrics.blocked(_direction(inbound=inbound), Resource.CONNECTION)

    def stream_refused(self, *, inbound: bool) -> None:
        """Count a stream that was one too many on its connection."""
        if self._metrics is not None:
            self._metrics.blocked(_direction(inbound=inbound), Resource.STREAM)

    def not_admitted(self, connection: Connection) -> None:
        """Count a connection whose peer did not prove itself."""
        if self._metrics is None:
            return
        self._metrics.blocked(_direction(inbound=connection.inbound), Resource.ADMISSION)
        if not connection.inbound:
            self._metrics.dial_failed(_transport(connection.remote), DialError.ADMISSION)

    def dial_failed(self, address: Multiaddr, error: BaseException | None) -> None:
        """Count a dial that led to no connection."""
        if self._metrics is not None:
            self._metrics.dial_failed(_transport(address), _dial_error(error))


def _direction(*, inbound: bool) -> Direction:
    return Direction.INBOUND if inbound else Direction.OUTBOUND


def _transport(address: Multiaddr) -> Transport:
    return Transport(addresses.transport_label(address))


def _ip_version(connection: Connection) -> IpVersion:
    return IpVersion.UNKNOWN if connection.relayed else IpVersion(addresses.ip_version_label(connection.remote))


def _dial_error(error: BaseException | None) -> DialError:
    if isinstance(error, trio.TooSlowError):
        return DialError.DEADLINE
    if isinstance(system_error_in(error), ConnectionRefusedError):
        return DialError.REFUSED
    if isinstance(error, MuxerUpgradeFailure | SecurityUpgradeFailure):
        return DialError.NEGOTIATION
    return DialError.OTHER
