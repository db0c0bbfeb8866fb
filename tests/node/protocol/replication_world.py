"""Three relays that may fail, one that may lie, and a recipient, for the test of replication: all in memory, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_node.protocol.mailboxes import Mailboxes, Replica


def relay_id(number: int) -> bytes:
    """Return a PeerId as multihash."""
    return bytes([18, 32]) + bytes([number]) * 32


@dataclass
class Relay:
    """One queue at one relay, by the rules of docs/spec/mailbox.md."""

    number: int
    faulty: bool = False
    up: bool = True
    lies: bool = False  # says Stored and stores nothing
    generation: int = 0  # of the queue: one that was lost is made anew under another id
    exists: bool = True
    held: dict[bytes, bytes] = field(default_factory=dict)
    acked: set[bytes] = field(default_factory=set)
    older: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def send_id(self) -> bytes:
        return bytes([self.number, self.generation]) * 12

    def put(self, send_id: bytes, mid: bytes, packet: bytes) -> str:
        if not self.exists or send_id != self.send_id:
            return "AUTH"
        if not self.lies and mid not in self.acked:
            self.held[mid] = packet
        return "Stored"

    def have(self, send_id: bytes, mids: list[bytes]) -> list[bytes] | None:
        if not self.exists or send_id != self.send_id:
            return None
        return [mid for mid in mids if mid in self.held or mid in self.acked]

    def ack(self, mid: bytes) -> None:
        if self.held.pop(mid, None) is not None:
            self.acked.add(mid)


@dataclass
class Recipient:
    """Opens a packet once, whatever queue brings it; answers it each time."""

    shown: list[bytes] = field(default_factory=list)
    receipts: list[bytes] = field(default_factory=list)

    def fetch(self, relay: Relay) -> None:
        for mid, packet in list(relay.held.items()):
            if packet not in self.shown:
                self.shown.append(packet)
            self.receipts.append(packet)
            relay.ack(mid)  # after its own commit


def told(number: int, relays: list[Relay]) -> Mailboxes:
    """Return the set as the recipient tells it."""
    return Mailboxes(number, b"s" * 32, tuple(Replica(relay_id(one.number), (), one.send_id) for one in relays))
