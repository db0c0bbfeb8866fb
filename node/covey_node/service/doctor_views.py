"""What the doctor tells: this machine's way to the outside, and the way to each contact.

Owns: value types of the port (port.py names them too). Spec: docs/spec/api.md, section 8.
Never touches: how they are found (doctor.py), what they mean (protocol/advice.py, protocol/hops.py).

Times are Unix seconds (float, UTC). `words` and `reason` are for people, `code` and `kind` for programs.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.protocol.paths import PathKind


@dataclass(frozen=True, slots=True)
class NatView:
    """What the machine's NAT does: `kind` is none, easy, hard, udp_blocked or unknown."""

    kind: str
    words: str
    udp: str  # works | blocked | unknown


@dataclass(frozen=True, slots=True)
class AddressView:
    """One of our addresses. `reachable`: somebody else's dial came through to it; None when nobody has tried."""

    address: str
    transport: str
    ip_version: str
    scope: str  # public | local
    reachable: bool | None
    checked_at: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class MappingView:
    """One port that the router forwards to this machine; `protocol` is tcp or udp, `via` upnp, nat-pmp or pcp."""

    protocol: str
    internal_port: int
    external: str
    via: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class PortmapView:
    """Port mapping: `state` is off, none (no router answered, or none is needed) or mapped."""

    state: str
    mappings: tuple[MappingView, ...]


@dataclass(frozen=True, slots=True)
class StandingPathView:
    """One connection to a contact's device; `used` for the one that packets take now."""

    path: PathKind
    transport: str
    relay: str | None
    address: str
    since: float
    used: bool
    state: str | None
    rtt_seconds: float | None


@dataclass(frozen=True, slots=True)
class PunchAddressView:
    """What became of one address in a hole punch: `outcome` is success, failed or cancelled."""

    address: str
    transport: str
    ip_version: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class PunchView:
    """One hole punch: `outcome` is success, failed, cancelled or direct (a plain dial did it)."""

    at: float
    side: str
    attempts: int
    outcome: str
    reason: str | None
    words: str
    seconds: float
    transport: str | None
    addresses: tuple[PunchAddressView, ...]


@dataclass(frozen=True, slots=True)
class HopView:
    """One step on the way to a contact; `ok` is None where nothing is known yet."""

    code: str
    ok: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class AdviceView:
    """What the user could change. `wrong`: something does not work without it; else it would work better."""

    code: str
    words: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class ContactDoctorView:
    """The way to one contact. `hops`, in their order, only when it was asked for this contact."""

    alias: str
    state: str
    path: PathKind
    transport: str | None
    relay: str | None
    since: float | None
    paths: tuple[StandingPathView, ...]
    punches: tuple[PunchView, ...]  # the newest first
    hops: tuple[HopView, ...]
    advice: tuple[AdviceView, ...]
