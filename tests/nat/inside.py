"""Runs inside a node's container: prints the node's status each time it changes, one JSON line, until stdin ends.

Each line: {"at": seconds of CLOCK_MONOTONIC, which is one clock for all containers of a machine, "status": the status
as the local API tells it, null while no node answers}. Only what the image holds is imported.
"""

import json
import select
import sys
import time
from pathlib import Path

from covey_node.cli.client import Node
from covey_node.cli.exits import CliError

LOOK_SECONDS = 0.1


def main(home: Path) -> None:
    """Look until the other end of stdin is closed."""
    told: object = ""
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        try:
            status = Node.at(home).ask("GET", "/v1/status")
        except CliError:
            status = None
        if status != told:
            print(json.dumps({"at": time.monotonic(), "status": status}), flush=True)  # noqa: T201 - for the test
            told = status


if __name__ == "__main__":
    main(Path("/data"))
