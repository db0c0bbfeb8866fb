"""Having our listening ports mapped at the router.

Owns: which of the host's listeners are mapped; the secret of PCP's nonces, kept over restarts.
Spec: docs/spec/portmap.md. Never touches: how routers are asked (net/portmap.py), who is told (addressing.py).
"""

from __future__ import annotations

from collections.abc import Callable

from covey_core.host import Host
from covey_node import limits
from covey_node.net.portmap import PortMapper
from covey_node.protocol.portmap import mappable
from covey_node.service.effects import Effects
from covey_node.service.ledger import Ledger
from covey_node.service.own import Own
from covey_node.store import account
from covey_node.store.tx import Tx

_META = "portmap-secret"


async def make_port_mapper(
    ledger: Ledger, own: Own, host: Host, changed: Callable[[], None], hear_of_change: list[Callable[[], None]]
) -> PortMapper:
    """Return what maps the host's ports once its `run` runs.

    `changed` hears when `addrs()` is another; it wants to `hear_of_change` of this machine's interfaces.
    """

    def secret(tx: Tx, _effects: Effects) -> bytes:
        kept = account.get_meta(tx, _META)
        if kept is None:
            kept = own.rng(limits.PORTMAP_SECRET_BYTES)
            account.set_meta(tx, _META, kept)
        return kept

    mapper = PortMapper(
        lambda: mappable(host.addrs),
        scope=host.network.scope,
        secret=await ledger.change(secret),
        changed=changed,
    )
    hear_of_change.append(mapper.nudge)
    return mapper
