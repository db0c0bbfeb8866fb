"""A host in a namespace of its own, told by lines of JSON what to do.

python -m tests.host.punching [RELAY-ADDRESS...]

First it prints its PeerId and addresses: with relays those at which they see it, else its own. Then each line
{"do": "punch", "peer", "addrs", "client"} or {"do": "connect", "peer", "addrs"} is answered by one line, and
{"do": "hang-up", "peer"} closes the connections to that peer.
"""

import functools
import json
import sys
from typing import Any

import trio

from covey_core.errors import Unreachable
from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import new_network

_LISTEN = ("/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1")
_WINDOW_SECONDS = 5


def say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(relays: list[str]) -> None:
    network = new_network("lab", private=False)
    config = HostConfig(identity=Identity.generate(), network=network, listen=_LISTEN, keeps_both=not relays)
    async with open_host(config) as host:
        say([host.peer_id, await seen_from(host, relays) if relays else []])
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            say(await done(host, json.loads(line)))


async def seen_from(host: Host, relays: list[str]) -> list[str]:
    """Return our addresses as a relay sees them, over TCP and over QUIC."""
    relay = relays[0].rpartition("/")[2]
    host.keep_both(relay)  # type: ignore[arg-type]
    for address in relays:
        await host.dial_also(relay, address)  # type: ignore[arg-type]
    with host.subscribe(identified=True) as events:
        while len(host.observations()) < len(relays):
            await events.receive()
    return [one.observed for one in host.observations()]


async def done(host: Host, what: dict[str, Any]) -> Any:
    peer = what["peer"]
    try:
        match what["do"]:
            case "punch":
                punch = functools.partial(host.punch, client=what["client"], window_seconds=_WINDOW_SECONDS)
                result = await punch(peer, what["addrs"])
                return [one.outcome for one in result.addresses], described(host, peer)
            case "connect":
                await host.connect(peer, what["addrs"], timeout_seconds=_WINDOW_SECONDS)
        if what["do"] == "hang-up":
            await host.disconnect(peer)
            with host.subscribe() as events:
                while host.connections(peer):
                    await events.receive()
    except Unreachable as exc:
        return str(exc)
    return described(host, peer)


def described(host: Host, peer: Any) -> list[Any]:
    return [[one.transport, one.inbound, one.punched, one.from_listen_port] for one in host.connections(peer)]


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
