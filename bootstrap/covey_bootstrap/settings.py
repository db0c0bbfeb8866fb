"""What an operator sets for a seed.

Owns: the names, types and defaults of `COVEY_BOOTSTRAP_*`. Spec: docs/operators.md. Never touches: what they do.
"""

from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from covey_core.listening import everywhere
from covey_core.settings import CoveySettings, TextList

_PORT_MAX = 65_535


class BootstrapSettings(CoveySettings):
    """The settings of one seed; every one has a default that works on a machine of its own."""

    model_config = SettingsConfigDict(env_prefix="COVEY_BOOTSTRAP_")
    also_known: ClassVar[frozenset[str]] = frozenset({"COVEY_BOOTSTRAP_PORT", "COVEY_BOOTSTRAP_WS_PORT"})

    data_dir: Path = Path("covey-bootstrap")
    """Where identity, network file and remembered peers lie unless set otherwise; made when missing."""
    identity_file: Path | None = None
    """Default: `identity` in the data directory. Made when missing."""
    network_file: Path | None = None
    """Default: `network.json` in the data directory. Made when missing; shared with relays on the same volume."""
    network_name: str = "home"
    """The name of the network that is made when there is no network file."""
    network_private: bool = True
    """Whether that network gets a key, so that only those who have its link may connect."""
    network_subnets: TextList = ()
    """CIDR subnets that a private network lives in; added to those of a network file that exists."""
    listen: TextList = Field(default_factory=partial(everywhere, "tcp/4001", "udp/4001/quic-v1", "tcp/4002/ws"))
    """Multiaddrs to listen on; TCP and WebSocket need a port each, QUIC's UDP port may have TCP's number.

    Default: all addresses of the machine, IPv6 where it has it.
    """
    announce: TextList = ()
    """Multiaddrs under which others reach this seed; default: the bound ones that lie in the network's scope."""
    max_connections: int = Field(default=1_000, ge=8, le=100_000)
    """Connections at once, both directions."""
    ops_addr: str = "127.0.0.1:9101"
    """HOST:PORT of /metrics, /livez and /readyz; for the operator only."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True

    @field_validator("ops_addr")
    @classmethod
    def _has_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > _PORT_MAX:
            raise ValueError("give HOST:PORT, for instance 127.0.0.1:9101 or [::1]:9101")
        return value

    @property
    def identity_path(self) -> Path:
        """The identity file."""
        return self.identity_file or self.data_dir / "identity"

    @property
    def network_path(self) -> Path:
        """The network file."""
        return self.network_file or self.data_dir / "network.json"

    @property
    def peers_path(self) -> Path:
        """The file of remembered peers."""
        return self.data_dir / "peers.json"

    @property
    def ops_host_port(self) -> tuple[str, int]:
        """Host and port of the operations port."""
        host, _, port = self.ops_addr.rpartition(":")
        return host.strip("[]"), int(port)
