"""The host: the only room of the core that knows libp2p. Spec: docs/spec/host.md."""

from covey_core.host.connection import ConnectionInfo, Observation
from covey_core.host.events import Connected, Disconnected, Identified
from covey_core.host.factory import HostConfig, open_host
from covey_core.host.host import Host
from covey_core.host.opening import ProtocolRefused
from covey_core.host.punch import PunchAddress, PunchResult
from covey_core.host.streams import Stream

__all__ = [
    "Connected",
    "ConnectionInfo",
    "Disconnected",
    "Host",
    "HostConfig",
    "Identified",
    "Observation",
    "ProtocolRefused",
    "PunchAddress",
    "PunchResult",
    "Stream",
    "open_host",
]
