"""A new account on a new home.

Owns: what a fresh database holds. Never touches: a running node, sockets.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from covey_core.network import Network, save_network
from covey_node import crypto
from covey_node.home import NETWORK_FILE
from covey_node.store import account
from covey_node.store.home import SecretFile, Unlock, create_home
from covey_node.store.keyfile import make_secret_file
from covey_node.store.tx import Tx


def create_account(home: Path, *, name: str, network: Network | None, unlock: Unlock) -> str:
    """Make the home with a new account; return its key as 64 hex characters.

    A secret file that is missing is made. Raises what `store.home.create_home` raises.
    """
    now = time.time()
    own = crypto.Account.generate(os.urandom)
    device = crypto.DeviceKeys.generate(os.urandom)
    devices = crypto.DeviceList.first(own, device, now=now)
    keys = crypto.RecordKeys.generate(os.urandom)
    row = account.AccountRow(
        account_key=own.public_key,
        account_seed=own.seed,
        name=name,
        device_list=devices.encode(),
        device_keys=device.encode(),
        prekeys=crypto.Prekeys.generate(os.urandom, now=now).encode(),
        record_seed=keys.seed,
        record_secret=keys.share.secret,
        record_sequence=0,
        created_at=now,
    )

    def fill(tx: Tx) -> None:
        account.create(tx, row)

    if isinstance(unlock, SecretFile) and not unlock.path.exists():
        unlock.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_secret_file(unlock.path)
    create_home(home, unlock, fill=fill)
    if network is not None:
        write_network(home, network)
    return own.public_key.hex()


def write_network(home: Path, network: Network) -> None:
    """Write the network file of a home."""
    save_network(home / NETWORK_FILE, network)
