"""A seed's own place in the network it serves: making the network, and its entry in the list of seeds.

Owns: the two changes a seed makes to a network, as values. Spec: docs/spec/network.md. Never touches: the network file,
sockets.
"""

from collections.abc import Sequence
from dataclasses import replace

from covey_core.errors import ProtocolViolation, SettingsInvalid
from covey_core.network import Network, Scope, new_network, peer_in
from covey_core.peers import PeerId


def made_or_widened(present: Network | None, *, name: str, private: bool, subnets: Sequence[str]) -> Network:
    """Return the network to serve: a new one when there is none, else the present one with `subnets` added to its own.

    A public network stays public. Raises `SettingsInvalid` for a name or subnet that cannot be.
    """
    if present is None:
        return new_network(name, private=private, subnets=tuple(subnets) if private else ())
    if present.scope.is_public or not subnets:
        return present
    try:
        return replace(present, scope=Scope(tuple(dict.fromkeys((*present.scope.subnets, *subnets)))))
    except (ValueError, ProtocolViolation) as exc:
        raise SettingsInvalid(f"COVEY_BOOTSTRAP_NETWORK_SUBNETS: {exc}") from exc


def with_seed(network: Network, peer: PeerId, addrs: Sequence[str]) -> Network:
    """Return the network with exactly `addrs` (ending in /p2p/<peer>) as the entry of the seed `peer`.

    The entry keeps its place in the list. Raises `SettingsInvalid` when the network has no room for it.
    """
    others = [addr for addr in network.bootstraps if peer_in(addr) != peer]
    before = next((i for i, addr in enumerate(network.bootstraps) if peer_in(addr) == peer), len(others))
    place = min(before, len(others))
    try:
        return replace(network, bootstraps=(*others[:place], *dict.fromkeys(addrs), *others[place:]))
    except ProtocolViolation as exc:
        raise SettingsInvalid(f"this seed cannot enter itself in the network: {exc}") from exc


def own_addresses(network: Network, addrs: Sequence[str], *, announced: bool) -> tuple[str, ...]:
    """Return the addresses under which others reach this seed.

    Announced ones are the operator's word and stay as they are; of the bound ones those count that lie in the network's
    scope. Raises `SettingsInvalid` when none is left.
    """
    usable = tuple(addrs) if announced else tuple(addr for addr in addrs if _is_in_scope(network.scope, addr))
    if usable:
        return usable
    where = "the public Internet" if network.scope.is_public else ", ".join(network.scope.subnets)
    raise SettingsInvalid(
        f"nobody could reach this seed: none of the addresses it listens on lies in the network's scope ({where}). "
        "Set COVEY_BOOTSTRAP_ANNOUNCE to the address under which others reach it; to try it on one machine set "
        "COVEY_BOOTSTRAP_NETWORK_SUBNETS=127.0.0.0/8"
    )


def _is_in_scope(scope: Scope, addr: str) -> bool:
    match addr.split("/", 3):
        case ["", "ip4" | "ip6", ip, _]:
            return scope.is_reachable_from_outside(ip)
        case _:
            return False
