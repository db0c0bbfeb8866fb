"""What the outside sees of this node, wired: AutoNAT's client, who counts, who is told; spare relays.

Owns: the wiring. Spec: docs/spec/autonat.md. Never touches: judgements (reachability.py), addresses (addressing.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from covey_core.autonat import AutonatClient
from covey_core.host import Host
from covey_node.metrics import NodeMetrics
from covey_node.net.reachability import Reachability, ReachMetrics
from covey_node.net.relays import RelayClient
from covey_node.service.addressing import AddressBook
from covey_node.service.ledger import Ledger
from covey_node.service.spares import Spares, is_accepted


def make_reachability(
    host: Host,
    relays: RelayClient,
    addresses: AddressBook,
    metrics: NodeMetrics,
    *,
    mapped: Callable[[], tuple[str, ...]],
) -> Reachability:
    """Return who finds out what is reachable; what is proven is announced. `mapped`: what a router forwards to us."""
    reachability = Reachability(
        host,
        AutonatClient(host),
        mapped=mapped,
        silent_over_quic=relays.silent_over_quic,
        metrics=ReachMetrics(asked=metrics.autonat_request, reachable=metrics.addrs_reachable),
    )
    reachability.changed = addresses.changed
    addresses.public = reachability.public_addrs
    return reachability


def make_spares(host: Host, ledger: Ledger, relays: RelayClient, reachability: Reachability) -> Spares:
    """Return who finds slots at contacts' nodes while the network's relays do not do."""
    return Spares(host, relays, partial(is_accepted, ledger), lambda: bool(reachability.public_addrs()))
