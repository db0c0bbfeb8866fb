"""Hole punching for this account: with whom, and to which of our addresses.

Owns: the answer to "may this peer learn where we are". Spec: docs/spec/dcutr.md, "With whom".
Never touches: how a hole is punched (net/puncher.py), when it is tried again (the keeper).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from covey_core.errors import FileDamaged
from covey_core.host import Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, ed25519_key_in
from covey_node.net.puncher import Puncher, own_addrs
from covey_node.net.relays import RelayClient
from covey_node.protocol.punch_log import PunchOutcome
from covey_node.service.applying import TALKING
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.store import contacts, devices
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx

log = get_logger("node.punching")


def make_puncher(
    ledger: Ledger,
    host: Host,
    relays: RelayClient,
    *,
    mapped: Callable[[], tuple[str, ...]] = lambda: (),
    on_outcome: Callable[[PunchOutcome], None] = lambda _outcome: None,
) -> Puncher:
    """Return the puncher of a node; `mapped` returns what a router forwards to us."""

    def ours() -> tuple[str, ...]:
        return own_addrs(host, mapped=mapped(), observers=relays.relays.keys())

    def hear_of_change(effects: Effects) -> None:
        if effects.contacts:
            puncher.acquainted()

    puncher = Puncher(host, ours, on_outcome, knows=partial(_is_known, ledger))
    ledger.follow(hear_of_change)
    return puncher


async def _is_known(ledger: Ledger, peer: PeerId) -> bool:
    """Whether a device belongs to a contact of ours, or to somebody whom we asked; no stranger learns where we are."""
    key = ed25519_key_in(peer)
    if key is None:
        return False

    def find(tx: Tx) -> bool:
        rows = (contacts.get(tx, device.contact_id) for device in devices.with_key(tx, key))
        return any(row is not None and row.state in TALKING for row in rows)

    try:
        return await ledger.read(find)
    except (StoreError, FileDamaged) as exc:
        log.warning("node.punching.left_out", problem=type(exc).__name__)
        return False
