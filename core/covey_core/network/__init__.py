"""A network: its name, id, scope, key, and where its seeds and relays are.

Owns: the `Network` value, its `covey:net.` link, the network file. Spec: docs/spec/network.md. Never touches: libp2p,
connections.
"""

from covey_core.link import qr_text
from covey_core.network.file import load_network, save_network, update_network
from covey_core.network.scope import PRIVATE_RANGES, Scope
from covey_core.network.value import Network, RelayEntry, new_network, peer_in

__all__ = [
    "PRIVATE_RANGES",
    "Network",
    "RelayEntry",
    "Scope",
    "load_network",
    "new_network",
    "peer_in",
    "qr_text",
    "save_network",
    "update_network",
]
