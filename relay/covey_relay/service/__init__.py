"""What the relay does for others: circuits, on any host (a publicly reachable node's too)."""

from covey_relay.service.circuits import RelayService, open_relay_service

__all__ = ["RelayService", "open_relay_service"]
