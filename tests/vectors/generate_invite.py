"""Writes tests/vectors/invite.json: `python -m tests.vectors.generate_invite`. Spec: docs/spec/first-contact.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from covey_core.identity import Identity
from covey_core.network import Network, RelayEntry, Scope
from covey_core.peers import peer_id_bytes
from covey_node import crypto
from covey_node.protocol.contact_set import ContactSet
from covey_node.protocol.invite import Invite
from covey_node.protocol.mailboxes import Replica

TARGET = Path(__file__).parent / "invite.json"


def named(text: str, size: int = 32) -> bytes:
    """Bytes that are the same in every run."""
    return hashlib.shake_256(text.encode()).digest(size)


def the_invite() -> Invite:
    """An invite with queues at a relay of the network and at one that it does not name."""
    relay, other = (Identity(named(name)).peer_id for name in ("relay", "other relay"))
    network = Network(
        name="example",
        id=named("network", 16),
        scope=Scope(("10.0.0.0/8",)),
        relays=(RelayEntry("somebody", (f"/ip4/10.0.0.2/tcp/4001/p2p/{relay}",)),),
    )
    replicas = (
        Replica(peer_id_bytes(relay), network.relays[0].addrs, named("send id 1", 24)),
        Replica(peer_id_bytes(other), (f"/ip4/10.0.0.3/tcp/4001/p2p/{other}",), named("send id 2", 24)),
    )
    return Invite(
        network=network,
        account_key=named("account"),
        addrs=(),
        token=named("token", 16),
        expires_at=1_900_000_000.0,
        name="alice",
        mailboxes=ContactSet(named("device"), named("secret"), replicas),
    )


def vectors() -> dict[str, object]:
    """The whole file."""
    invite = the_invite()
    assert invite.mailboxes is not None
    return {
        "note": "docs/spec/first-contact.md. Deflate may be written otherwise: the link is to be read.",
        "link": invite.to_link(),
        "account_key": invite.account_key.hex(),
        "token": invite.token.hex(),
        "device": invite.mailboxes.device.hex(),
        "secret": invite.mailboxes.secret.hex(),
        "replicas": [
            {
                "relay": one.relay.hex(),
                "addrs": list(one.addrs),
                "send_id": one.send_id.hex(),
                "admission_secret": (shown := crypto.admission_secret(invite.token, one.relay)).hex(),
                "admitted": hashlib.sha256(shown).hexdigest(),
                "stock_nonce": (nonce := named("nonce " + one.send_id.hex(), 24)).hex(),
                "stocked_pair": crypto.StockKeys.derive(invite.mailboxes.secret, one.relay, one.send_id)
                .seal_pair(_pair(), lambda size, nonce=nonce: nonce[:size])
                .hex(),
            }
            for one in invite.mailboxes.replicas
        ],
        "pair": _pair().encode().hex(),
    }


def _pair() -> crypto.OneTimePrekey:
    return crypto.OneTimePrekey(7, named("x25519"), named("kem", 1_184), named("signature", 64))


if __name__ == "__main__":
    TARGET.write_text(json.dumps(vectors(), indent=2) + "\n")
