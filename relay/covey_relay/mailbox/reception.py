"""What becomes of a request before anybody looks at a queue: is it too soon, was it forwarded, is it for another relay.

Owns: opening what was sealed for this relay. Spec: docs/spec/mailbox.md, "Forwarding", "Limits". Never touches: the
clock (callers pass it), queues, other relays (net/mailbox_forwarder.py).
"""

import math
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_forward import Opened, open_command
from covey_relay.mailbox.case import Asker, Case
from covey_relay.mailbox.forward_keys import ForwardKeys
from covey_relay.mailbox.pace import Pace

_RETRY_MAX_SECONDS: Final = 86_400


class Reception:
    """The first to see a request, of all streams of one relay."""

    def __init__(self, relay: PeerId, *, pace: Pace, keys: ForwardKeys) -> None:
        self._relay = relay
        self._name = peer_id_bytes(relay)
        self._pace = pace
        self._keys = keys

    def wait_seconds(self, asker: Asker, *, clock: float) -> float:
        """Count a request and return 0.0, or return after how long to look again, uncounted."""
        return self._pace.command(asker, clock=clock)

    def receive(self, request: m.Request, asker: Asker, *, size: int, wait: float, now: float, clock: float) -> Case:
        """Return the case, with an answer already where no queue has to be asked.

        `wait`: seconds that are still missing to the asker's pace. What was sealed for this relay becomes the command
        that was inside. `now`: Unix seconds.
        """
        case = Case(request, asker, clock, request.id, size)
        command = request.command
        if wait == 0.0 and isinstance(command, m.Fwd):
            wait = self._pace.forward(asker, clock=clock)
        if wait > 0.0:
            case.answer = busy(wait)
        elif isinstance(command, m.Fwd) and command.relay == self._name:
            self._open(case, command, now)
        return case

    def is_for_another(self, case: Case) -> bool:
        """Whether the case is to be forwarded."""
        return isinstance(case.request.command, m.Fwd) and case.answer is None

    def _open(self, case: Case, command: m.Fwd, now: float) -> None:
        if not command.sealed:
            case.answer = m.Forwarded(hello=self._keys.hello(case.asker.nonce, now=now))
            return
        opened = self._opened(command.sealed, now)
        if opened is None:
            case.answer = m.Refused(m.Reason.AUTH)
            return
        asker = case.asker
        case.request, case.seal = opened.request, opened.seal
        case.asker = Asker(asker.peer, asker.groups, opened.seal.nonce, asker.is_listed, forwarded=True)

    def _opened(self, sealed: bytes, now: float) -> Opened | None:
        """Open with whatever key is still good. What was wrong is not told: whoever sealed it knows."""
        for key in self._keys.good(now=now):
            try:
                return open_command(sealed, relay=self._relay, private=key.private)
            except ProtocolViolation:
                continue
        return None


def busy(wait_seconds: float) -> m.Refused:
    """Return the refusal of something that may be asked again after so long."""
    return m.Refused(m.Reason.BUSY, min(_RETRY_MAX_SECONDS, max(1, math.ceil(wait_seconds))))
