"""Runs inside a node's container: prints the node's status each time it changes, one JSON line, until stdin ends.

Each line: {"at": seconds of CLOCK_MONOTONIC, which is one clock for all containers of a machine, "status": the status
as the local API tells it, null while no node answers}. Only what the image holds is imported.
"""

import contextlib
import http.client
import json
import select
import sys
import time
from pathlib import Path

from covey_node.cli.client import Node
from covey_node.cli.exits import CliError

LOOK_SECONDS = 0.1
ANSWER_SECONDS = 10


class Looker:
    """Asks one node again and again, over one connection as long as it stands."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._node: Node | None = None
        self._connection: http.client.HTTPConnection | None = None

    def status(self) -> object:
        """Return the node's status, None when no node answers."""
        with contextlib.suppress(CliError, OSError, http.client.HTTPException):
            if self._node is None or self._connection is None:
                self._node = Node.at(self._home)
                self._connection = self._node._connect(ANSWER_SECONDS)
            self._connection.request("GET", "/v1/status", headers=self._node._headers)
            return json.loads(self._connection.getresponse().read())
        self._connection = None
        return None


def main(home: Path) -> None:
    """Look until the other end of stdin is closed."""
    looker = Looker(home)
    told: object = ""
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        status = looker.status()
        if status != told:
            print(json.dumps({"at": time.monotonic(), "status": status}), flush=True)  # noqa: T201 - for the test
            told = status


if __name__ == "__main__":
    main(Path("/data"))
