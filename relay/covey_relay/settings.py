"""What an operator sets for a relay.

Owns: the names, types and defaults of `COVEY_RELAY_*`. Spec: docs/operators.md; the limits: docs/spec/circuit.md,
docs/spec/mailbox.md.
Never touches: what they do.
"""

from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from covey_core.limits import MAILBOX_BLOB_BYTES, MAILBOX_TTL_SECONDS
from covey_core.listening import everywhere
from covey_core.settings import CoveySettings, SecretFromFile, TextList
from covey_relay import limits
from covey_relay.limits import AddressCaps, MailboxLimits, RelayLimits

_PORT_MAX = 65_535
_UINT32_MAX = 2**32 - 1  # a duration on the wire (Limit.duration)
_UINT63_MAX = 2**63 - 1


class RelaySettings(CoveySettings):
    """The settings of one relay; every one has a default that works on a machine of its own."""

    model_config = SettingsConfigDict(env_prefix="COVEY_RELAY_")
    also_known: ClassVar[frozenset[str]] = frozenset({"COVEY_RELAY_PORT", "COVEY_RELAY_WS_PORT"})

    data_dir: Path = Path("covey-relay")
    """Where identity and network file lie unless set otherwise; made when missing."""
    identity_file: Path | None = None
    """Default: `identity` in the data directory. Made when missing."""
    network_file: Path | None = None
    """Default: `network.json` in the data directory. Made by a seed on the same volume, or by `covey-relay join`."""
    network_wait_seconds: float = Field(default=60.0, ge=0, le=3600)
    """How long to wait for a network file that is not there yet."""
    operator: str = Field(default="unnamed", min_length=1, max_length=64)
    """Who runs this relay, as people see it: nodes choose relays of different operators."""
    listen: TextList = Field(default_factory=partial(everywhere, "tcp/4101", "udp/4101/quic-v1", "tcp/4102/ws"))
    """Multiaddrs to listen on; TCP and WebSocket need a port each, QUIC's UDP port may have TCP's number.

    Default: all addresses of the machine, IPv6 where it has it.
    """
    announce: TextList = ()
    """Multiaddrs under which others reach this relay; default: the bound ones that lie in the network's scope."""
    ops_addr: str = "127.0.0.1:9102"
    """HOST:PORT of /metrics, /livez and /readyz; for the operator only."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True

    max_connections: int | None = Field(default=None, ge=8, le=100_000)
    """Connections at once; default: room for all reservations and circuits, and 1,000 more."""
    max_connections_per_ip: int | None = Field(default=None, ge=1)
    """Connections of one IPv4 address or IPv6 /56; default: a quarter of all."""
    reservations: int = Field(default=limits.MAX_RESERVATIONS, ge=1, le=100_000)
    reservations_per_ipv4: int = Field(default=limits.MAX_RESERVATIONS_PER_IPV4, ge=1)
    reservations_per_ipv6_56: int = Field(default=limits.MAX_RESERVATIONS_PER_IPV6_56, ge=1)
    reservations_per_ipv6_48: int = Field(default=limits.MAX_RESERVATIONS_PER_IPV6_48, ge=1)
    reservation_seconds: int = Field(default=int(limits.RESERVATION_SECONDS), ge=60, le=86_400)
    circuits: int = Field(default=limits.MAX_CIRCUITS, ge=1, le=100_000)
    circuits_per_peer: int = Field(default=limits.MAX_CIRCUITS_PER_PEER, ge=1)
    circuits_per_pair: int = Field(default=limits.MAX_CIRCUITS_PER_PAIR, ge=1)
    circuits_per_ipv4: int = Field(default=limits.MAX_CIRCUITS_PER_IPV4, ge=1)
    circuits_per_ipv6_56: int = Field(default=limits.MAX_CIRCUITS_PER_IPV6_56, ge=1)
    circuits_per_ipv6_48: int = Field(default=limits.MAX_CIRCUITS_PER_IPV6_48, ge=1)
    circuit_seconds: int = Field(default=limits.CIRCUIT_SECONDS, ge=0, le=_UINT32_MAX)
    """How long one circuit may stand; 0: no limit."""
    circuit_bytes: int = Field(default=limits.CIRCUIT_BYTES, ge=0, le=_UINT63_MAX)
    """Bytes that one circuit may carry in each direction; 0: no limit."""

    ahead: Literal["on", "off"] = "on"
    """Whether contact records signed ahead are taken, kept and published while their owners are offline."""
    ahead_file: Path | None = None
    """Where they lie (SQLite); default: `ahead.db` beside the identity. Made when missing."""
    mailbox: Literal["on", "off"] = "on"
    """Whether messages are kept here for those who are away."""
    mailbox_file: Path | None = None
    """The mailboxes' database (SQLite); default: `mailboxes.db` beside the identity. Made when missing."""
    mailbox_database: SecretStr | None = None
    """URL of a PostgreSQL database instead (postgresql://...), which several relays may share."""
    mailbox_database_file: SecretFromFile | None = None
    """A file that holds this URL, since there may be a password in it."""
    mailbox_bytes: int = Field(default=limits.MAILBOX_DISK_BYTES, ge=limits.MIB, le=_UINT63_MAX)
    """What the mailboxes may take of the disk; from 85 % on new queues are refused."""
    mailbox_queues: int = Field(default=limits.MAILBOX_QUEUES, ge=1, le=100_000_000)
    mailbox_queue_messages: int = Field(default=limits.MAILBOX_QUEUE_MESSAGES, ge=1, le=1_000_000)
    mailbox_queue_bytes: int = Field(default=limits.MAILBOX_QUEUE_BYTES, ge=max(MAILBOX_BLOB_BYTES), le=_UINT63_MAX)
    mailbox_ttl_seconds: int = Field(default=limits.MAILBOX_TTL_SECONDS, ge=3600, le=MAILBOX_TTL_SECONDS)
    """How long a message is kept at most."""
    mailbox_peer_rate: float = Field(default=limits.MAILBOX_PEER_RATE, ge=1, le=1_000_000)
    """Commands a second of one peer in the long run; an address may do five times as many."""
    mailbox_peer_burst: int = Field(default=limits.MAILBOX_PEER_BURST, ge=256, le=10_000_000)
    """Commands at once of one peer."""

    @field_validator("ops_addr")
    @classmethod
    def _has_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > _PORT_MAX:
            raise ValueError("give HOST:PORT, for instance 127.0.0.1:9102 or [::1]:9102")
        return value

    @model_validator(mode="after")
    def _names_one_database(self) -> Self:
        named = (self.mailbox_file, self.mailbox_database, self.mailbox_database_file)
        if sum(one is not None for one in named) > 1:
            raise ValueError(
                "give one of COVEY_RELAY_MAILBOX_FILE, COVEY_RELAY_MAILBOX_DATABASE and "
                "COVEY_RELAY_MAILBOX_DATABASE_FILE"
            )
        return self

    @property
    def identity_path(self) -> Path:
        """The identity file."""
        return self.identity_file or self.data_dir / "identity"

    @property
    def network_path(self) -> Path:
        """The network file."""
        return self.network_file or self.data_dir / "network.json"

    @property
    def ahead_path(self) -> Path:
        """Where the records signed ahead lie."""
        return self.ahead_file or self.identity_path.parent / "ahead.db"

    @property
    def mailbox_path(self) -> Path:
        """The mailboxes' database."""
        return self.mailbox_file or self.identity_path.parent / "mailboxes.db"

    @property
    def mailbox_url(self) -> SecretStr | None:
        """The URL of the mailboxes' PostgreSQL; None where they lie in a file."""
        return self.mailbox_database or self.mailbox_database_file

    @property
    def mailbox_limits(self) -> MailboxLimits:
        """The bounds of the mailbox service."""
        return MailboxLimits(
            queues=self.mailbox_queues,
            queue_messages=self.mailbox_queue_messages,
            queue_bytes=self.mailbox_queue_bytes,
            ttl_seconds=self.mailbox_ttl_seconds,
            disk_bytes=self.mailbox_bytes,
            peer_rate=self.mailbox_peer_rate,
            peer_burst=self.mailbox_peer_burst,
        )

    @property
    def ops_host_port(self) -> tuple[str, int]:
        """Host and port of the operations port."""
        host, _, port = self.ops_addr.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def connections(self) -> int:
        """Connections at once."""
        return self.max_connections or self.reservations + self.circuits + limits.SPARE_CONNECTIONS

    @property
    def limits(self) -> RelayLimits:
        """The bounds of the circuit service."""
        return RelayLimits(
            reservation_seconds=self.reservation_seconds,
            reservations=self.reservations,
            reservations_per_address=AddressCaps(
                self.reservations_per_ipv4, self.reservations_per_ipv6_56, self.reservations_per_ipv6_48
            ),
            circuits=self.circuits,
            circuits_per_peer=self.circuits_per_peer,
            circuits_per_pair=self.circuits_per_pair,
            circuits_per_address=AddressCaps(
                self.circuits_per_ipv4, self.circuits_per_ipv6_56, self.circuits_per_ipv6_48
            ),
            circuit_seconds=self.circuit_seconds,
            circuit_bytes=self.circuit_bytes,
        )
