"""How fast may be asked: every allowance of the mailboxes in one place.

Owns: which commands count against which allowance. Spec: docs/spec/mailbox.md, "Limits". Never touches: the clock
(callers pass one that never goes back), what is asked.
"""

from collections.abc import Collection, Hashable
from typing import Final

from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.allowance import Allowance, Buckets
from covey_relay.mailbox.case import Asker


class Pace:
    """The allowances of one relay. Each method counts and returns 0.0, or returns the seconds to wait, uncounted."""

    def __init__(self, bounds: MailboxLimits) -> None:
        factor: Final = limits.MAILBOX_LISTED_FACTOR
        rate, burst = bounds.peer_rate, bounds.peer_burst
        self._commands = Allowance(rate=rate, burst=burst)
        self._of_listed = Buckets(rate=rate * factor, burst=burst * factor)
        self._forwards = Allowance(rate=limits.MAILBOX_FORWARD_RATE, burst=limits.MAILBOX_FORWARD_BURST)
        self._news = Allowance(rate=limits.MAILBOX_NEW_RATE, burst=limits.MAILBOX_NEW_BURST)
        self._strangers = Buckets(rate=limits.MAILBOX_STRANGER_RATE, burst=limits.MAILBOX_STRANGER_BURST)
        self._strangers_of_listed = Buckets(
            rate=limits.MAILBOX_STRANGER_RATE * factor, burst=limits.MAILBOX_STRANGER_BURST * factor
        )

    def command(self, asker: Asker, *, clock: float) -> float:
        """Count any command; relays of the network file forward for many and may do more."""
        if asker.is_listed:
            return _take_all(self._of_listed, (asker.peer,), clock)
        return self._commands.take(asker.peer, asker.groups, now=clock)

    def forward(self, asker: Asker, *, clock: float) -> float:
        """Count a FWD, besides."""
        if asker.is_listed:
            return 0.0
        return self._forwards.take(asker.peer, asker.groups, now=clock)

    def new_queue(self, asker: Asker, *, clock: float) -> float:
        """Count a NEW."""
        return self._news.take(asker.peer, asker.groups, now=clock)

    def stranger(self, asker: Asker, *, clock: float) -> float:
        """Count a PUT on a contact queue, a TAKE or a WORK: by address, since PeerIds cost nothing."""
        if asker.is_listed:
            return _take_all(self._strangers_of_listed, (asker.peer,), clock)
        return _take_all(self._strangers, asker.groups or (asker.peer,), clock)


def _take_all(buckets: Buckets, keys: Collection[Hashable], clock: float) -> float:
    wait = max((buckets.wait_seconds(key, now=clock) for key in keys), default=0.0)
    if wait == 0.0:
        for key in keys:
            buckets.take(key, now=clock)
    return wait
