"""The file of remembered peers.

Owns: reading it at the start, replacing it atomically. Spec: docs/spec/dht.md, "Seeds". Never touches: who is in it.
"""

import contextlib
from pathlib import Path
from typing import Any

from covey_bootstrap import limits
from covey_bootstrap.remembered import RememberedPeers
from covey_core.errors import CoveyError, FileUnusable, ProtocolViolation
from covey_core.files import atomic_write, read_bounded
from covey_core.logs import get_logger

_log: Any = get_logger("bootstrap.peers")


def load_peers(path: Path) -> RememberedPeers:
    """Return the remembered peers in `path`, none when there is no such file.

    A file that cannot be used is put aside as `<name>.damaged` and said so: a seed starts without its memory too.
    """
    if not path.exists():
        return RememberedPeers()
    try:
        return RememberedPeers.decode(read_bounded(path, limit_bytes=limits.REMEMBERED_FILE_BYTES))
    except (ProtocolViolation, FileUnusable) as exc:
        aside = path.with_name(f"{path.name}.damaged")
        _log.warning("bootstrap.peers.damaged", problem=str(exc), put_aside=aside.name)
        with contextlib.suppress(OSError):
            path.replace(aside)
        return RememberedPeers()


def save_peers(path: Path, peers: RememberedPeers) -> bool:
    """Replace the file; a full disk or missing right is said in the log and costs nothing else. Return success."""
    try:
        atomic_write(path, peers.encode())
    except CoveyError as exc:
        _log.warning("bootstrap.peers.not_saved", problem=str(exc))
        return False
    return True
