"""Run a whole node of a home folder that exists; takes commands and tells what happens, a line of JSON each.

The arguments: home folder, network file, then listen addresses. Commands: {"send": contact, "text": ...}.
"""

import json
import sys
from pathlib import Path
from typing import Any

import trio

from covey_core.network import load_network
from covey_node.service.node import Node
from covey_node.service.run import NodeOptions, open_node
from covey_node.store.home import SecretFile, open_home


def tell(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)  # noqa: T201


async def watch(node: Node) -> None:
    """Tell of paths and messages as they change."""
    async with node.events(after=None) as events:
        async for event in events:
            data = event.data
            if event.kind == "path":
                tell("path", alias=data["alias"], path=str(data["path"]), address=data["address"])
            elif event.kind == "message":
                path = None if data["path"] is None else str(data["path"])
                tell("message", text=data["text"], status=str(data["status"]), path=path)


async def main() -> None:
    home, network, *listen = sys.argv[1:]
    options = NodeOptions(
        home=Path(home),
        network=load_network(Path(network)),
        listen=tuple(listen),
        announce=(),
        api_address="unix",
        token_file=Path(home) / "api.token",
        mdns=True,
    )
    unlock = SecretFile(Path(home).parent / f"{Path(home).name}.secret")
    async with (
        open_home(Path(home), unlock) as database,
        open_node(database, options) as node,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(watch, node)
        tell("started")
        async for line in trio.wrap_file(Path("/dev/stdin").open()):  # noqa: ASYNC230, SIM115
            command = json.loads(line)
            await node.send(command["send"], command["text"], reply_to=None, disappear_seconds=None)
        nursery.cancel_scope.cancel()
    tell("ended")


trio.run(main)
