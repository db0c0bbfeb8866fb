"""A relay in a process of its own, for tests that stop, pause or kill one: `python -m tests.support.relay_process`.

Reads the network file named in the arguments, prints its address once it listens, ends when its input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from covey_core.host import HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import load_network
from covey_relay.service import open_relay_service


async def main(file: Path) -> None:
    """Relay until the input ends."""
    identity = Identity.generate()
    network = load_network(file)
    config = HostConfig(identity, network, ("/ip4/127.0.0.1/tcp/0",))
    async with open_host(config) as host, open_relay_service(host, identity=identity):
        sys.stdout.write(f"{host.addrs[0]}\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
