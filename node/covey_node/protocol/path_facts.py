"""What is known of a path, and what the table of paths asks for.

Owns: the values that go into and come out of path_table.py. Spec: docs/spec/paths.md. Never touches: decisions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from covey_node.protocol.paths import PathKind


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What stays the same about a path. `number` is its connection's, `via` its transport or its relay.

    `startable`: relayed, and we received it, so that DCUtR lets us start a punch. `ours`: we dialed it. A circuit ends
    `lasts_seconds` after it began or when it has carried `carries_bytes` one way; infinite for others.
    """

    number: int
    kind: PathKind
    via: str
    startable: bool = False
    ours: bool = True
    lasts_seconds: float = math.inf
    carries_bytes: float = math.inf

    @property
    def relayed(self) -> bool:
        """Whether the path runs through a relay."""
        return self.kind is PathKind.RELAYED

    @property
    def key(self) -> str:
        """What its successors are known by: kind and transport, or the relay."""
        return f"{self.kind.value}/{self.via}"


@dataclass(frozen=True, slots=True)
class PathView:
    """A path as people and other parts see it. `state`: new, standby, used, doubted, dead."""

    number: int
    kind: PathKind
    via: str
    state: str
    rtt_seconds: float | None
    failures: int
    punished_seconds: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Ping the peer on this connection now; tell `answered` whenever the answer comes."""

    number: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Close this connection: it is dead."""

    number: int


@dataclass(frozen=True, slots=True)
class Punch:
    """Try to come to a direct connection now."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Open another circuit: this one ends soon and nothing better stands."""

    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until` (infinite: before the next event)."""

    until: float


Action = Probe | Drop | Punch | Renew | Wait
