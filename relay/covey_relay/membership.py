"""A relay's own place in the network it serves: its entry in the list of relays.

Owns: the changes a relay makes to a network, as values. Spec: docs/spec/network.md. Never touches: the network file,
sockets.
"""

from collections.abc import Sequence
from dataclasses import replace

from covey_core.errors import ProtocolViolation, SettingsInvalid
from covey_core.network import Network, RelayEntry, Scope
from covey_core.peers import PeerId


def with_relay(network: Network, peer: PeerId, *, operator: str, addrs: Sequence[str]) -> Network:
    """Return the network with exactly `addrs` (ending in /p2p/<peer>) as the entry of the relay `peer`.

    The entry keeps its place in the list. Raises `SettingsInvalid` when the network has no room for it.
    """
    try:
        entry = RelayEntry(operator=operator, addrs=tuple(dict.fromkeys(addrs)))
        relays = [entry if relay.peer == peer else relay for relay in network.relays]
        return replace(network, relays=tuple(relays if entry in relays else [*relays, entry]))
    except ProtocolViolation as exc:
        raise SettingsInvalid(f"this relay cannot enter itself in the network: {exc}") from exc


def joined(present: Network | None, wanted: Network) -> Network:
    """Return what the network file shall hold after joining `wanted`; what it knows of that network already stays.

    Raises `SettingsInvalid` when it holds another network.
    """
    if present is None:
        return wanted
    if present.id != wanted.id:
        raise SettingsInvalid(
            f"the network file holds the network {present.name!r} already: move it away to join {wanted.name!r}"
        )
    return replace(wanted, relays=_united(wanted.relays, present.relays))


def own_addresses(network: Network, addrs: Sequence[str], *, announced: bool) -> tuple[str, ...]:
    """Return the addresses under which others reach this relay.

    Announced ones are the operator's word and stay as they are; of the bound ones those count that lie in the network's
    scope. Raises `SettingsInvalid` when none is left.
    """
    usable = tuple(addrs) if announced else tuple(addr for addr in addrs if _is_in_scope(network.scope, addr))
    if usable:
        return usable
    where = "the public Internet" if network.scope.is_public else ", ".join(network.scope.subnets)
    raise SettingsInvalid(
        f"nobody could reach this relay: none of the addresses it listens on lies in the network's scope ({where}). "
        "Set COVEY_RELAY_ANNOUNCE to the address under which others reach it"
    )


def _united(first: Sequence[RelayEntry], second: Sequence[RelayEntry]) -> tuple[RelayEntry, ...]:
    known = {relay.peer for relay in first}
    return (*first, *(relay for relay in second if relay.peer not in known))


def _is_in_scope(scope: Scope, addr: str) -> bool:
    match addr.split("/", 3):
        case ["", "ip4" | "ip6", ip, _]:
            return scope.is_reachable_from_outside(ip)
        case _:
            return False
