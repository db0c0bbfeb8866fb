"""A node's view of its own place, in a process of its own: `python -m tests.autonat.behind NETWORK LISTEN...`.

Writes a line of JSON whenever something about it changes: the NAT kind, and of each address whether it is reachable.
Ends with its standard input.
"""

import json
import sys
from pathlib import Path

import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from covey_core.autonat import AutonatClient
from covey_core.host import HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import load_network
from covey_node.net.reachability import Reachability
from covey_node.net.relays import RelayClient

LOOK_SECONDS = 0.2


async def main(network_file: str, *listen: str) -> None:
    network = load_network(Path(network_file))
    async with open_host(HostConfig(Identity.generate(), network, listen)) as host, trio.open_nursery() as nursery:
        relays = RelayClient(host, network.relays, lambda: None)
        reachability = Reachability(host, AutonatClient(host), silent_over_quic=relays.silent_over_quic)
        nursery.start_soon(relays.run)
        nursery.start_soon(reachability.run)
        nursery.start_soon(_show, reachability)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def _show(reachability: Reachability) -> None:
    shown = None
    while True:
        judged = {one.addr: one.reachable for one in reachability.addrs()}
        now = {"nat": reachability.nat.value, "addrs": judged}
        if now != shown:
            shown = now
            sys.stdout.write(json.dumps(now) + "\n")
            sys.stdout.flush()
        await wait_all_tasks_blocked(LOOK_SECONDS)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    trio.run(main, *sys.argv[1:])
