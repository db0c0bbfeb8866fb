"""Which relays and mailboxes are left alone for a while, over all devices, and what ends that early.

Owns: the pauses, as many as may be remembered. Spec: docs/spec/delivery.md, "Mailboxes". How long they last:
protocol/replication.py. Never touches: calls, the clock.
"""

from __future__ import annotations

from covey_node import limits
from covey_node.protocol.replication import Pause, own_pause
from covey_node.store.deposits import Place

Key = tuple[int, bytes]
"""A contact's row id and one of its devices' keys."""


class Pauses:
    """A relay's pause holds for all queues there, a queue's for itself. Those asked for longest ago are forgotten."""

    def __init__(self) -> None:
        self._relays: dict[bytes, Pause] = {}
        self._own: dict[Key, dict[Place, Pause]] = {}

    def of(self, place: Place) -> tuple[Pause, Pause]:
        """Return the pause of a place's relay, and its own."""
        relay = self._relays.pop(place.relay, None) or Pause()
        self._relays[place.relay] = relay
        key = place.contact_id, place.device_key
        places = self._own.pop(key, {})
        own = places.pop(place, None) or own_pause()
        places[place] = own
        while len(places) > limits.MAILBOX_REPLICAS_MAX:  # of queues that are in no set any more
            del places[next(iter(places))]
        self._own[key] = places
        while len(self._relays) > limits.DEPOSIT_PAUSES_MAX:
            del self._relays[next(iter(self._relays))]
        while len(self._own) > limits.DEPOSIT_PAUSES_MAX:
            del self._own[next(iter(self._own))]
        return relay, own

    def seen(self, key: Key) -> bool:
        """A device shows itself: it may have made room in its full queues. True when one of them was left alone."""
        ended = False
        for pause in self._own.get(key, {}).values():
            ended = ended or pause.not_before > 0
            pause.not_before = 0.0
        return ended

    def network_changed(self) -> None:
        """Our network is another one: what could not be reached may be now."""
        for pause in self._relays.values():
            pause.not_before = pause.busy_until = 0.0
