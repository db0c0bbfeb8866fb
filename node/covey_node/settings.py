"""What the operator of a node sets, from `COVEY_NODE_*` variables.

Owns: names, defaults, what goes together. Spec: docs/users.md, "Settings". Never touches: what a setting does.
Read once, in `__main__`: `settings = load_settings(NodeSettings)`.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict

from covey_core.listening import everywhere
from covey_core.settings import CoveySettings, TextList
from covey_node.home import API_TOKEN_FILE, NETWORK_FILE, default_home
from covey_node.limits import NAME_BYTES

PORT_MAX = 65535


def default_listen() -> tuple[str, ...]:
    """Return any free ports of TCP and UDP."""
    return everywhere("tcp/0", "udp/0/quic-v1")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _name(text: str) -> str:
    if len(text.encode()) > NAME_BYTES:
        raise ValueError(f"a name has at most {NAME_BYTES} bytes of UTF-8")
    if not text.strip() or not text.isprintable():
        raise ValueError("a name is not empty and has no control characters")
    return text


def _host_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        colon = ""
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > PORT_MAX:
        raise ValueError("write ADDRESS:PORT, such as 127.0.0.1:9103")
    return text


FilePath = Annotated[Path, AfterValidator(_absolute)]


class NodeSettings(CoveySettings):
    """The node's settings. Files that hold secrets are named here and read where they are needed."""

    model_config = SettingsConfigDict(env_prefix="COVEY_NODE_")

    home: FilePath = Field(default_factory=lambda: _absolute(default_home()))
    """Folder of the account, the database, the network file and the API's files."""
    network_file: FilePath | None = None
    """Another place for the network file, such as a volume that containers share; see `network_path`."""

    listen: TextList = Field(default_factory=default_listen)
    """Multiaddrs to accept connections on; `none` to dial only. Port 0 lets the kernel choose."""
    announce: TextList = ()
    """Multiaddrs to tell contacts instead of those listened on, such as a forwarded port."""

    portmap: bool = True
    """`on` asks the router to let contacts in (PCP, NAT-PMP, UPnP), `off` does not."""
    mdns: bool = True
    """`on` finds contacts on the local network and is found there (multicast DNS), `off` does not."""

    relay: Literal["auto", "off"] = "auto"
    """`auto` helps those behind NATs, within small limits, while this node can be reached itself; `off` does not."""
    mailboxes: bool = True
    """`on` leaves messages for contacts who are away at relays and fetches ours there, `off` does neither."""
    isolation: Literal["relay", "queue"] = "relay"
    """`relay`: one connection to a relay sends for all queues and one receives; `queue`: one each a queue."""

    report_punches: bool = False
    """`on` tells a relay that keeps a slot for this node how hole punches ended: numbers, no peers, hours later."""

    api: str = "127.0.0.1:0"
    """Where the local API listens: loopback HOST:PORT (0: any free port), `unix` (<home>/api.sock), unix:/path."""
    api_token_file: FilePath | None = None
    """Another place for the API's bearer token; see `token_path`."""

    passphrase_file: FilePath | None = None
    """A file (0600) with the passphrase that opens the account; without it the node asks on a terminal."""
    secret_file: FilePath | None = None
    """A file (0600) with 32 random bytes that open the account instead, for containers."""

    create: bool = False
    """Make the account at the first start, under `name`; the secret file too, if it is missing."""
    name: Annotated[str, AfterValidator(_name)] | None = None
    """The display name of an account that `create` makes."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged; peers and addresses only at debug."""
    log_json: bool | None = None
    """JSON lines instead of text; by default unless standard error is a terminal."""
    ops_addr: Annotated[str, AfterValidator(_host_port)] | None = None
    """ADDRESS:PORT of /metrics, /livez and /readyz; none by default. Keep it on a private address."""

    @model_validator(mode="after")
    def _fits_together(self) -> NodeSettings:
        if self.passphrase_file is not None and self.secret_file is not None:
            raise ValueError("set COVEY_NODE_PASSPHRASE_FILE or COVEY_NODE_SECRET_FILE, not both")
        if self.create and self.name is None:
            raise ValueError("COVEY_NODE_CREATE needs a name for the account: set COVEY_NODE_NAME")
        if self.create and self.passphrase_file is None and self.secret_file is None:
            raise ValueError("COVEY_NODE_CREATE needs COVEY_NODE_SECRET_FILE or COVEY_NODE_PASSPHRASE_FILE")
        return self

    @property
    def network_path(self) -> Path:
        """Return where the network file is."""
        return self.network_file or self.home / NETWORK_FILE

    @property
    def token_path(self) -> Path:
        """Return where the API's token is."""
        return self.api_token_file or self.home / API_TOKEN_FILE

    @property
    def listen_addrs(self) -> tuple[str, ...]:
        """Return the multiaddrs to listen on, none for `none`."""
        return () if self.listen == ("none",) else self.listen
