"""Why a message is where it is: each device it goes to, each way that was tried.

Owns: value types of the port (port.py names them too). Spec: docs/spec/api.md, section 5.
Never touches: how they are found (explaining.py).

Times are Unix seconds (float, UTC). `words` are for people and may change.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status


@dataclass(frozen=True, slots=True)
class DirectWhy:
    """The way straight to a device, over the path that stands now, if any."""

    path: PathKind
    words: str
    attempts: int  # tries that came to nothing, of this packet
    next_attempt_at: float | None


@dataclass(frozen=True, slots=True)
class MailboxWhy:
    """One mailbox of a device. `relay` is its operator's name, or the end of its PeerId."""

    relay: str
    stored: bool
    since: float | None  # it lies there since, or was missed then
    words: str
    next_attempt_at: float | None


@dataclass(frozen=True, slots=True)
class DeviceWhy:
    """A device that does not have the message yet. Without `mailboxes` it has told us none."""

    device: str  # its key, 64 hex characters
    status: Status  # queued | sent | stored
    expires_at: float
    direct: DirectWhy
    mailboxes: tuple[MailboxWhy, ...]


@dataclass(frozen=True, slots=True)
class WhyView:
    """Why a message is where it is, in one sentence, and what is tried for each device that still waits for it."""

    id: str
    contact: str
    status: Status
    status_at: float
    words: str
    devices: tuple[DeviceWhy, ...]
