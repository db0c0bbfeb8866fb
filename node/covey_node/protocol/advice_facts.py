"""What advice is given from: facts about this machine and about the way to a contact.

Owns: the facts, the advice as a value, a rule of the tables. Never touches: how facts are found (service/doctor.py),
the rules (machine_advice.py, contact_advice.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to change. `wrong`: something does not work without it; else it would work better."""

    code: str
    words: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What is known about this machine. `nat`: none, easy, hard, udp_blocked, unknown; `portmap`: off, none, mapped."""

    nat: str = "unknown"
    relays: int = 0  # in the network's link
    relays_connected: int = 0
    relays_reserved: int = 0
    relay_reason: str | None = None  # of the last refusal or failure
    listens: bool = True
    listens_udp: bool = False
    proven_addrs: int = 0  # reached from outside
    refuted_addrs: int = 0  # tried from outside, in vain
    announced: bool = False  # addresses are set by hand
    announced_refuted: bool = False  # and nobody reaches any of them
    portmap: str = "none"
    mapped_refuted: bool = False  # a port is mapped, was tried from outside, and is not reached

    @property
    def outside(self) -> bool:
        """Whether people outside can come to us at all."""
        return bool(self.proven_addrs or self.relays_reserved)


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """What is known about the way to one contact; `punch_*` of the last hole punch."""

    alias: str = "them"
    state: ContactState = ContactState.ACCEPTED
    path: PathKind = PathKind.NONE
    devices: int = 1
    direct_addrs: int = 0
    relays: int = 0  # that it named
    relayed: bool = False  # a relayed connection stands, in use or not
    tried: str | None = None  # why the last try to reach it failed, in words
    punch_outcome: str | None = None
    punch_reason: str | None = None
    punch_attempts: int = 0
    their_nat: str = "unknown"

    @property
    def failed(self) -> str | None:
        """Return why packets go through the relay though a punch was tried."""
        return self.punch_reason if self.path is PathKind.RELAYED and self.punch_outcome == "failed" else None


Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Rule(Generic[Facts]):
    """What is to be said where a condition holds."""

    code: str
    wrong: bool
    holds: Callable[[Facts], bool]
    words: Callable[[Facts], str] | str

    def advice(self, facts: Facts) -> Advice:
        """Return the words for these facts, for which the condition holds."""
        return Advice(self.code, self.words if isinstance(self.words, str) else self.words(facts), self.wrong)


def wrong(code: str, holds: Callable[[Facts], bool], words: Callable[[Facts], str] | str) -> Rule[Facts]:
    """Return a rule about what does not work."""
    return Rule(code, True, holds, words)  # noqa: FBT003 - this function names it


def better(code: str, holds: Callable[[Facts], bool], words: Callable[[Facts], str] | str) -> Rule[Facts]:
    """Return a rule about what would work better."""
    return Rule(code, False, holds, words)  # noqa: FBT003 - this function names it
