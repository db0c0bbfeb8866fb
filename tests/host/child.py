"""A host in a process of its own: prints its addresses, serves until its standard input ends.

python -m tests.host.child <covey: link>
"""

import sys

import trio

from covey_core.host import HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import Network


async def main() -> None:
    network = Network.from_link(sys.argv[1])
    config = HostConfig(identity=Identity.generate(), network=network, listen=("/ip4/127.0.0.1/tcp/0",))
    async with open_host(config) as host:
        sys.stdout.write(" ".join((host.peer_id, *host.addrs)) + "\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    trio.run(main)
