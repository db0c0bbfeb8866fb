"""What a node measures; go-libp2p's names where it has them (METRICS, "Node").

Owns: the node's metrics, and the enums of labels that no part has. A label is one of an enum's values, whatever is
passed: no peer, address or error text can become one. Spec: docs/operators.md, "Metrics of a node".
Never touches: what is measured, the registry's exposition; the service wires the two (service/measuring.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from covey_core.autonat import Verdict
from covey_core.metrics import Direction, IpVersion, Transport
from covey_node.protocol.nat_kind import NatKind
from covey_node.protocol.path_count import Way
from covey_node.protocol.paths import PathKind
from covey_node.protocol.punch_log import Ending, Reason, Side
from covey_node.protocol.status import Status

_ATTEMPTS_MAX: Final = 4  # three on one stream and one with roles swapped (docs/spec/dcutr.md); more count as four
_PATH_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 5, 10, 30)
_DELIVERY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600, 86400)
_STANDING: Final = tuple(kind for kind in PathKind if kind not in {PathKind.NONE, PathKind.MAILBOX})
_FAILURES: Final = tuple(reason for reason in Reason if reason is not Reason.NOT_OURS_TO_START)
_CARRIERS: Final = (Transport.TCP, Transport.QUIC)

_Label = TypeVar("_Label", bound=StrEnum)


class Portmap(StrEnum):
    """Who forwards a port to this machine."""

    NONE = "none"
    UPNP = "upnp"
    NAT_PMP = "nat-pmp"
    PCP = "pcp"


class Via(StrEnum):
    """How a message came to the other side."""

    DIRECT = "direct"
    RELAY = "relay"
    MAILBOX = "mailbox"


class RatchetReject(StrEnum):
    """Why a packet was not opened."""

    REPLAYED = "replayed"
    SKIPPED_TOO_FAR = "skipped_too_far"
    NO_KEY = "no_key"
    MALFORMED = "malformed"
    PREKEY_USED = "prekey_used"  # of a one-time pair that was used before: a relay hands pairs out twice


class MailboxCommand(StrEnum):
    """What a relay's mailboxes were asked."""

    NEW = "new"
    PUT = "put"
    HAVE = "have"
    GET = "get"
    ACK = "ack"
    ROT = "rot"
    DEL = "del"
    STOCK = "stock"
    TAKE = "take"
    WORK = "work"
    OTHER = "other"


class MailboxOutcome(StrEnum):
    """What they answered: that it is so, why not, or nothing."""

    ANSWERED = "answered"
    AUTH = "auth"
    QUOTA = "quota"
    BUSY = "busy"
    WORK = "work"
    EMPTY = "empty"
    UNREACHABLE = "unreachable"


class AddressOutcome(Protocol):
    """One address of a punch, as the host tells it."""

    @property
    def transport(self) -> str:
        """What carries it."""

    @property
    def ip_version(self) -> str:
        """Its address family: ip4 or ip6."""

    @property
    def outcome(self) -> str:
        """success, failed or cancelled."""


class Punch(Protocol):
    """The end of one punch, as the puncher tells it."""

    @property
    def side(self) -> str:
        """Our part."""

    @property
    def attempts(self) -> int:
        """How many times both sides dialled."""

    @property
    def outcome(self) -> str:
        """How it ended."""

    @property
    def reason(self) -> str | None:
        """Why it failed."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    @property
    def addresses(self) -> Sequence[AddressOutcome]:
        """What became of each address."""


class NodeMetrics:
    """The metrics of one node, registered in `registry`; tests pass a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._nat = NatKind.UNKNOWN
        self._peers = Gauge("covey_peers", "Contacts' devices by the path in use.", ["path"], registry=registry)
        self._established = Counter(
            "covey_paths_established",
            "Sessions with contacts' devices, each counted once, at its path 30 s after it began or at its end.",
            ["path", "transport", "ipv", "nat"],
            registry=registry,
        )
        self._setup = Histogram(
            "covey_path_setup_seconds",
            "From the first try to reach a device to the first path of a kind.",
            ["path"],
            buckets=_PATH_SECONDS,
            registry=registry,
        )
        self._punches = Counter(
            "libp2p_holepunch_outcomes", "Hole punches.", ["side", "num_attempts", "outcome"], registry=registry
        )
        self._punched_addresses = Counter(
            "libp2p_holepunch_address_outcomes",
            "Addresses of hole punches.",
            ["side", "ipv", "transport", "outcome"],
            registry=registry,
        )
        self._punch_seconds = Histogram(
            "covey_holepunch_seconds",
            "From the start of a hole punch to its end.",
            ["outcome"],
            buckets=_PATH_SECONDS,
            registry=registry,
        )
        self._punch_failures = Counter(
            "covey_holepunch_failures", "Why hole punches failed.", ["reason"], registry=registry
        )
        self._reachable = Gauge(
            "libp2p_host_addrs_reachable",
            "Addresses that others proved to reach from outside.",
            ["ipv", "transport"],
            registry=registry,
        )
        self._autonat = Counter(
            "libp2p_autonatv2_client_requests", "AutoNAT v2 requests of ours.", ["outcome"], registry=registry
        )
        self._nat_info = Gauge(
            "covey_nat_info", "1 for the NAT and port mapping of this machine.", ["nat", "portmap"], registry=registry
        )
        self._relay_addresses = Gauge(
            "libp2p_autorelay_relay_addresses_count", "Our addresses through relays.", registry=registry
        )
        self._payload = Counter(
            "covey_payload_bytes", "Bytes of packets, without their frames.", ["path", "dir"], registry=registry
        )
        self._delivery = Histogram(
            "covey_delivery_seconds",
            "From the message's commit here to its receipt.",
            ["via"],
            buckets=_DELIVERY_SECONDS,
            registry=registry,
        )
        self._outbox = Gauge(
            "covey_outbox_messages", "Messages that no device of the contact has yet.", ["status"], registry=registry
        )
        self._ahead = Gauge(
            "covey_ahead_records_left",
            "Days to come for which a contact record of ours lies at a relay.",
            registry=registry,
        )
        self._mailbox_calls = Counter(
            "covey_mailbox_calls", "Calls at relays' mailboxes.", ["command", "outcome"], registry=registry
        )
        self._rejects = Counter("covey_ratchet_rejects", "Packets that were not opened.", ["reason"], registry=registry)
        self._show_zeros()

    # --- paths ----------------------------------------------------------------------------------------------------

    def peers(self, counts: Mapping[PathKind, int]) -> None:
        """Set how many contacts' devices are reached over which kind of path."""
        for kind in _STANDING:
            self._peers.labels(path=kind.value).set(counts.get(kind, 0))

    def path_established(self, way: Way) -> None:
        """Count a peer session at this path, under the NAT kind that was told last."""
        self._established.labels(
            path=way.kind.value,
            transport=_one_of(Transport, way.transport, Transport.OTHER),
            ipv=_one_of(IpVersion, way.ip_version, IpVersion.UNKNOWN),
            nat=self._nat.value,
        ).inc()

    def path_stood(self, kind: PathKind, seconds: float) -> None:
        """Take how long it took until a path of this kind stood."""
        self._setup.labels(path=kind.value).observe(seconds)

    def payload(self, path: str, direction: Direction, size: int) -> None:
        """Count `size` bytes of packets that came or went over a kind of path; nothing for a path that just ended."""
        kind = _one_of(PathKind, path, PathKind.NONE)
        if kind in _STANDING:
            self._payload.labels(path=kind, dir=direction.value).inc(size)

    # --- punches and reachability ---------------------------------------------------------------------------------

    def punch_finished(self, punch: Punch) -> None:
        """Count the end of a hole punch, with every address of it."""
        side, outcome = _one_of(Side, punch.side, Side.RECEIVER), _one_of(Ending, punch.outcome, Ending.FAILED)
        attempts = str(max(0, min(punch.attempts, _ATTEMPTS_MAX)))
        self._punches.labels(side=side, num_attempts=attempts, outcome=outcome).inc()
        self._punch_seconds.labels(outcome=outcome).observe(punch.seconds)
        if outcome == Ending.FAILED:
            reason = _one_of(Reason, punch.reason or "", Reason.PROTOCOL)
            self._punch_failures.labels(reason=reason).inc()
        for address in punch.addresses:
            self._punched_addresses.labels(
                side=side,
                ipv=_one_of(IpVersion, address.ip_version, IpVersion.UNKNOWN),
                transport=_one_of(Transport, address.transport, Transport.OTHER),
                outcome=_one_of(Ending, address.outcome, Ending.FAILED),
            ).inc()

    def nat(self, kind: str, portmap: str) -> None:
        """Set what is known of this machine's NAT and who maps ports."""
        self._nat = NatKind(_one_of(NatKind, kind, NatKind.UNKNOWN))
        self._nat_info.clear()
        self._nat_info.labels(nat=self._nat.value, portmap=_one_of(Portmap, portmap, Portmap.NONE)).set(1)
        for path in _STANDING:  # from the start: a rate over a counter that appears late misses its first step
            for transport in _CARRIERS:
                self._established.labels(
                    path=path.value, transport=transport.value, ipv=IpVersion.IP4.value, nat=self._nat.value
                )

    def addrs_reachable(self, found: Iterable[tuple[str, str]]) -> None:
        """Set how many addresses are reachable from outside: an (ip version, transport) for each of them."""
        counts: dict[tuple[str, str], int] = {}
        for ip_version, transport in found:
            key = (_one_of(IpVersion, ip_version, IpVersion.UNKNOWN), _one_of(Transport, transport, Transport.OTHER))
            counts[key] = counts.get(key, 0) + 1
        known = {(ip.value, transport.value) for ip in (IpVersion.IP4, IpVersion.IP6) for transport in _CARRIERS}
        self._reachable.clear()
        for ipv, transport in known | counts.keys():
            self._reachable.labels(ipv=ipv, transport=transport).set(counts.get((ipv, transport), 0))

    def autonat_request(self, outcome: str) -> None:
        """Count what came of one AutoNAT v2 request."""
        self._autonat.labels(outcome=_one_of(Verdict, outcome, Verdict.FAILED)).inc()

    def relay_addrs(self, count: int) -> None:
        """Set how many addresses through relays we have."""
        self._relay_addresses.set(count)

    def records_ahead(self, days: int) -> None:
        """Set for how many days, today's included, a record signed ahead lies at one relay at least."""
        self._ahead.set(days)

    # --- messages -------------------------------------------------------------------------------------------------

    def delivered(self, path: str | None, seconds: float) -> None:
        """Take how long a message took that was delivered over a kind of path."""
        via = Via.MAILBOX if path == PathKind.MAILBOX else Via.RELAY if path == PathKind.RELAYED else Via.DIRECT
        self._delivery.labels(via=via.value).observe(max(0.0, seconds))

    def outbox(self, counts: Mapping[Status, int]) -> None:
        """Set how many messages wait, by status."""
        for status in (Status.QUEUED, Status.SENT, Status.STORED):
            self._outbox.labels(status=status.value).set(counts.get(status, 0))

    def mailbox_called(self, command: str, outcome: str) -> None:
        """Count a call at a relay's mailboxes and what came of it; those that were cancelled are not counted."""
        self._mailbox_calls.labels(
            command=_one_of(MailboxCommand, command, MailboxCommand.OTHER),
            outcome=_one_of(MailboxOutcome, outcome, MailboxOutcome.UNREACHABLE),
        ).inc()

    def ratchet_rejected(self, reason: RatchetReject) -> None:
        """Count a packet that was not opened."""
        self._rejects.labels(reason=reason.value).inc()

    def _show_zeros(self) -> None:
        self.peers({})
        self.nat(NatKind.UNKNOWN, Portmap.NONE)
        self.addrs_reachable(())
        self.outbox({})
        for kind in _STANDING:
            self._setup.labels(path=kind.value)
            for direction in Direction:
                self._payload.labels(path=kind.value, dir=direction.value)
        for result in Ending:
            self._punch_seconds.labels(outcome=result.value)
        for counter, label, values in (
            (self._punch_failures, "reason", _FAILURES),
            (self._autonat, "outcome", Verdict),
            (self._rejects, "reason", RatchetReject),
        ):
            for value in values:
                counter.labels(**{label: value.value})
        for via in Via:
            self._delivery.labels(via=via.value)
        for command in (MailboxCommand.PUT, MailboxCommand.ACK):
            for came_of_it in MailboxOutcome:
                self._mailbox_calls.labels(command=command.value, outcome=came_of_it.value)


def _one_of(kind: type[_Label], value: str, otherwise: _Label) -> str:
    """Return the value when the enum has it, else another member's: nothing foreign becomes a label."""
    try:
        return kind(value).value
    except ValueError:
        return otherwise.value
