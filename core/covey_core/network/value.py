"""The network as a value: its checks and its `covey:net.` link.

Owns: what a network can be. Spec: docs/spec/network.md. Never touches: files, libp2p, connections.
"""

import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

from covey_core import limits
from covey_core.errors import LinkInvalid, ProtocolViolation, SettingsInvalid
from covey_core.link import encode_link, expect_link
from covey_core.network.scope import PRIVATE_RANGES, Scope
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.wire.netlink import NetworkFields, RelayFields, decode_network, encode_network

ID_BYTES: Final = 16
KEY_BYTES: Final = 32
LINK_KIND: Final = "net"
LINK_VERSION: Final = 1
_PRINTABLE_ASCII: Final = re.compile(r"/[!-~]+")


@dataclass(frozen=True, slots=True)
class RelayEntry:
    """One relay: who runs it, and its multiaddrs, each ending in /p2p/<PeerId> (all the same PeerId)."""

    operator: str
    addrs: tuple[str, ...]

    @property
    def peer(self) -> PeerId:
        """The relay's PeerId."""
        return peer_in(self.addrs[0])


@dataclass(frozen=True, slots=True)
class Network:
    """A network as its members know it. `key` (32 bytes) is what members prove to each other; None: open to all.

    `previous_key` is accepted as well while a rotation is under way. Raises `ProtocolViolation` when a value is not
    what docs/spec/network.md allows.
    """

    name: str
    id: bytes
    scope: Scope = field(default_factory=Scope)
    key: bytes | None = field(default=None, repr=False)
    previous_key: bytes | None = field(default=None, repr=False)
    bootstraps: tuple[str, ...] = ()
    relays: tuple[RelayEntry, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no network can be."""
        _check(self)

    @property
    def short_id(self) -> str:
        """The first 8 hex characters of the id, as protocol ids carry them."""
        return self.id.hex()[:8]

    @property
    def kad_prefix(self) -> str:
        """What stands before "/kad/1.0.0" in the network's DHT protocol id."""
        return f"/covey/{self.short_id}"

    def protocol(self, name: str) -> str:
        """Return the protocol id "/covey/<8 hex of the id>/<name>/1"."""
        return f"/covey/{self.short_id}/{name}/1"

    def to_link(self) -> str:
        """Return the `covey:net.` link. With a key in it, it is a secret: who has it is a member."""
        fields = NetworkFields(
            name=self.name,
            id=self.id,
            subnets=self.scope.subnets,
            key=self.key or b"",
            previous_key=self.previous_key or b"",
            bootstraps=self.bootstraps,
            relays=tuple(RelayFields(operator=relay.operator, addrs=relay.addrs) for relay in self.relays),
        )
        try:
            return encode_link(LINK_KIND, LINK_VERSION, encode_network(fields))
        except ValueError as exc:
            raise LinkInvalid(f"this network has too many addresses for a link: {exc}") from exc

    @classmethod
    def from_link(cls, text: str) -> Self:
        """Return the network in a link; `LinkInvalid` with a text for the user when there is none."""
        payload = expect_link(text, kind=LINK_KIND, version=LINK_VERSION)
        try:
            found = decode_network(payload)
            return cls(
                name=found.name,
                id=found.id,
                scope=_scope(found.subnets),
                key=found.key or None,
                previous_key=found.previous_key or None,
                bootstraps=found.bootstraps,
                relays=tuple(RelayEntry(operator=relay.operator, addrs=relay.addrs) for relay in found.relays),
            )
        except ProtocolViolation as exc:
            raise LinkInvalid(f"this link holds no usable network ({exc}): ask for a new one") from exc


def new_network(name: str, *, private: bool, subnets: tuple[str, ...] = ()) -> Network:
    """Return a new network with a random id, and when `private` with a random key.

    Without `subnets` a private network lives in site address space (`PRIVATE_RANGES`), another in the public
    Internet. Raises `SettingsInvalid` for a name or subnet that cannot be.
    """
    try:
        return Network(
            name=name,
            id=secrets.token_bytes(ID_BYTES),
            scope=_scope(subnets or (PRIVATE_RANGES if private else ())),
            key=secrets.token_bytes(KEY_BYTES) if private else None,
        )
    except ProtocolViolation as exc:
        raise SettingsInvalid(f"the network cannot be made: {exc}") from exc


def peer_in(addr: str) -> PeerId:
    """Return the PeerId at the end of a multiaddr "…/p2p/<PeerId>"; `ProtocolViolation` when there is none."""
    head, found, peer = addr.rpartition("/p2p/")
    if not found or not head:
        raise ProtocolViolation(f"the address {addr[: limits.ADDRESS_MAX_CHARS]!r} does not end in /p2p/<PeerId>")
    peer_id_bytes(PeerId(peer))
    return PeerId(peer)


def _scope(subnets: tuple[str, ...]) -> Scope:
    try:
        return Scope(subnets)
    except ValueError as exc:
        raise ProtocolViolation(f"a subnet that is none: {exc}") from exc


def _check(network: Network) -> None:
    _check_name("network", network.name, limits.NETWORK_NAME_CHARS)
    if len(network.id) != ID_BYTES:
        raise ProtocolViolation(f"a network id has {ID_BYTES} bytes, not {len(network.id)}")
    for key in (network.key, network.previous_key):
        if key is not None and len(key) != KEY_BYTES:
            raise ProtocolViolation(f"a network key has {KEY_BYTES} bytes, not {len(key)}")
    if network.previous_key is not None and network.key is None:
        raise ProtocolViolation("a network with a previous key and no key")
    _check_count("subnets", len(network.scope.subnets), limits.NETWORK_SUBNETS)
    _check_count("bootstrap addresses", len(network.bootstraps), limits.NETWORK_BOOTSTRAPS)
    _check_count("relays", len(network.relays), limits.NETWORK_RELAYS)
    for addr in network.bootstraps:
        _check_address(addr)
    for relay in network.relays:
        _check_name("operator", relay.operator, limits.OPERATOR_NAME_CHARS)
        _check_count("addresses of one relay", len(relay.addrs), limits.RELAY_ADDRESSES)
        if len({_check_address(addr) for addr in relay.addrs}) != 1:
            raise ProtocolViolation("a relay needs addresses, all of one PeerId")


def _check_name(what: str, name: str, bound: int) -> None:
    if not 0 < len(name) <= bound or not name.isprintable() or name != name.strip():
        raise ProtocolViolation(f"the {what} name must have 1 to {bound} printable characters")


def _check_count(what: str, count: int, bound: int) -> None:
    if count > bound:
        raise ProtocolViolation(f"{count} {what}, over the limit of {bound}")


def _check_address(addr: str) -> PeerId:
    if len(addr) > limits.ADDRESS_MAX_CHARS or not _PRINTABLE_ASCII.fullmatch(addr):
        raise ProtocolViolation(f"no multiaddr: {addr[: limits.ADDRESS_MAX_CHARS]!r}")
    return peer_in(addr)
