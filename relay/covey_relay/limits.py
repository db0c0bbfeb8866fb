"""What a relay gives at most: every bound of the circuit service, with its unit and its reason.

Owns: the defaults, and `RelayLimits`, the values an operator may change. Spec: docs/spec/circuit.md, section "Limits".
Never touches: the environment (see settings.py), the tables that enforce the values.
"""

from dataclasses import dataclass

MIB = 1024 * 1024

RESERVATION_SECONDS = 3600.0
"""How long a reservation stands, seconds: one hour, as all libp2p implementations grant; clients refresh earlier."""

MAX_RESERVATIONS = 4000
"""Reservations in all (DESIGN 10: 4,000 reservations and 1,000 circuits in 600 MB)."""

MAX_RESERVATIONS_PER_IPV4 = 32
"""Reservations behind one IPv4 address: a household, an office or a slice of a carrier's NAT, not a farm."""

MAX_RESERVATIONS_PER_IPV6_56 = 32
"""Reservations of one IPv6 /56, what one customer is usually delegated (RIPE-690)."""

MAX_RESERVATIONS_PER_IPV6_48 = 128
"""Reservations of one IPv6 /48, the largest that one customer is usually delegated (RIPE-690)."""

MAX_CIRCUITS = 1000
"""Circuits in all, those still being opened included (DESIGN 10)."""

MAX_CIRCUITS_PER_PEER = 64
"""Circuits in which one peer is an end, as source or as target: every contact of a busy node may take one."""

MAX_CIRCUITS_PER_PAIR = 8
"""Circuits from one source to one target: a reconnecting client overlaps with its own stale circuits."""

MAX_CIRCUITS_PER_IPV4 = 128
"""Circuits with an end behind one IPv4 address."""

MAX_CIRCUITS_PER_IPV6_56 = 128
"""Circuits with an end in one IPv6 /56."""

MAX_CIRCUITS_PER_IPV6_48 = 256
"""Circuits with an end in one IPv6 /48."""

CIRCUIT_SECONDS = 2 * 3600
"""How long one circuit may stand, seconds, idle or not (DESIGN 9: renewed by clients before the end)."""

CIRCUIT_BYTES = 256 * MIB
"""Bytes that one circuit may carry in each direction (DESIGN 9)."""

MAX_HANDSHAKES_PER_PEER = MAX_CIRCUITS_PER_PEER
"""Hop streams of one peer whose first message has not come yet; more are reset. A client may
dial all its circuits at once."""

HOP_READ_SECONDS = 10.0
"""How long a hop stream may stay silent before its first message has come whole."""

STOP_SECONDS = 15.0
"""How long the target may take to accept a circuit: opening the stop stream, our message and its answer."""

STATUS_WRITE_SECONDS = 10.0
"""How long a peer may take to take a status from us."""

MAX_MESSAGE_BYTES = 4096
"""Largest hop or stop message, without its length prefix; what go-libp2p and js-libp2p send and accept."""

RESERVATION_ADDRS = 8
"""Addresses of the relay in one reservation: tcp, ws and wss over two families, and two spare."""

RESERVATION_ADDRS_BYTES = 2048
"""Their size together: half of the largest message."""

READ_BYTES = 128 * 1024
"""Most bytes taken from one side of a circuit before they are written to the other: two Yamux frames, in one turn."""

SWEEP_SECONDS = 30.0
"""How often slots are compared with the connections that really stand, should an event have been lost."""

REPORTS_PER_PEER = 4
"""Punch reports of one peer within the window below; an honest node sends one in half an hour at most."""

REPORT_WINDOW_SECONDS = 3600.0
"""The window; with 64 punches a report, a peer adds at most 256 an hour to the sums."""

REPORTING_PEERS = 4096
"""Peers whose reports are remembered for that long, more than may hold a slot; 200 bytes each."""

REPORT_READ_SECONDS = 10.0
"""How long a report may take to come whole."""

DRAIN_SECONDS = 3.0
"""How long circuits may take to end when the service closes; within the 8 s bound of the process."""

SPARE_CONNECTIONS = 1000
"""Connections beyond those of slots and circuits: the DHT's, and clients that have asked for nothing yet."""

NETWORK_FILE_POLL_SECONDS = 0.25
"""Between two looks for a network file that a seed is about to make."""

REGISTER_RETRY_SECONDS = 1.0
"""First pause after a registration at a seed that failed; doubled up to the next."""

REGISTER_RETRY_MAX_SECONDS = 60.0
"""A seed that comes back has its relays again within this time."""

REGISTER_AGAIN_SECONDS = 300.0
"""Between two registrations; seeds keep them in memory, so one that restarted has us again after this."""


@dataclass(frozen=True, slots=True)
class AddressCaps:
    """How many entries one group of addresses may have: an IPv4 address, an IPv6 /56, an IPv6 /48."""

    ipv4: int
    ipv6_56: int
    ipv6_48: int


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The bounds that an operator may change; 0 for `circuit_seconds` or `circuit_bytes` means no limit there."""

    reservation_seconds: float = RESERVATION_SECONDS
    reservations: int = MAX_RESERVATIONS
    reservations_per_address: AddressCaps = AddressCaps(
        MAX_RESERVATIONS_PER_IPV4, MAX_RESERVATIONS_PER_IPV6_56, MAX_RESERVATIONS_PER_IPV6_48
    )
    circuits: int = MAX_CIRCUITS
    circuits_per_peer: int = MAX_CIRCUITS_PER_PEER
    circuits_per_pair: int = MAX_CIRCUITS_PER_PAIR
    circuits_per_address: AddressCaps = AddressCaps(
        MAX_CIRCUITS_PER_IPV4, MAX_CIRCUITS_PER_IPV6_56, MAX_CIRCUITS_PER_IPV6_48
    )
    circuit_seconds: int = CIRCUIT_SECONDS
    circuit_bytes: int = CIRCUIT_BYTES
