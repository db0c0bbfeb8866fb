"""Where a node keeps its files on this machine.

Owns: the default folder and the names of the files that the node and the `covey` command share. Spec: docs/spec/api.md.
Never touches: the files' contents. Imports the standard library only: the `covey` command starts with it.
"""

from __future__ import annotations

import os
from pathlib import Path

API_FILE = "api.json"  # where the running node's API listens
API_TOKEN_FILE = "api.token"  # noqa: S105 - a file name; the bearer token inside is made at the first start
API_LOCK_FILE = "api.lock"  # held (flock) as long as the node runs
API_SOCKET = "api.sock"  # where the API listens with COVEY_NODE_API=unix
NETWORK_FILE = "network.json"


def default_home() -> Path:
    """Return the node's folder: `COVEY_NODE_HOME`, `COVEY_HOME`, or `covey` in the XDG data folder.

    Source: XDG Base Directory Specification 0.8; a relative XDG_DATA_HOME is ignored, as it says.
    """
    for variable in ("COVEY_NODE_HOME", "COVEY_HOME"):
        if chosen := os.environ.get(variable):
            return Path(chosen).expanduser()
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share") / "covey"
