"""Who this node is: its account, its device, and where time and randomness come from.

Owns: reading them out of the database. Never touches: sockets. Keys never leave in a repr.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from covey_core.identity import Identity
from covey_node import crypto
from covey_node.store import account
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Own:
    """What every operation needs to know of ourselves."""

    account: crypto.Account = field(repr=False)
    local: crypto.LocalDevice = field(repr=False)
    identity: Identity = field(repr=False)
    now: Callable[[], float] = time.time
    rng: Callable[[int], bytes] = os.urandom

    @property
    def account_key(self) -> bytes:
        """Our account's public key, 32 bytes."""
        return self.account.public_key

    @property
    def device_key(self) -> bytes:
        """This device's Ed25519 public key, 32 bytes: its PeerId."""
        return self.identity.public_key


def load_own(tx: Tx, *, now: Callable[[], float] = time.time, rng: Callable[[int], bytes] = os.urandom) -> Own | None:
    """Return who we are, None in a database without an account."""
    row = account.load(tx)
    if row is None or row.account_seed is None:
        return None
    device = crypto.DeviceKeys.decode(row.device_keys)
    return Own(
        account=crypto.Account.from_seed(row.account_seed),
        local=crypto.LocalDevice(device, crypto.DeviceList.decode(row.device_list)),
        identity=Identity(device.ed25519_seed),
        now=now,
        rng=rng,
    )


def record_keys(row: account.AccountRow) -> crypto.RecordKeys:
    """Return our record key pair and contact secret."""
    return crypto.RecordKeys.of(row.record_seed, row.record_secret)
