"""What the relay does for others: circuits, on any host (a publicly reachable node's too)."""

from covey_relay.limits import AddressCaps, RelayLimits
from covey_relay.service.circuits import RelayService, open_relay_service

__all__ = ["AddressCaps", "RelayLimits", "RelayService", "open_relay_service"]
