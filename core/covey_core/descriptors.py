"""How many files and sockets this process may have open.

Owns: the limit RLIMIT_NOFILE of the own process, and the share of it that is in use.
Never touches: other limits, what is opened.
"""

import resource
from pathlib import Path
from typing import Any, Final

from covey_core.limits import SPARE_DESCRIPTORS
from covey_core.logs import get_logger

_log: Any = get_logger("process")
_FOLDER: Final = Path("/proc/self/fd")


def provide_descriptors(connections: int) -> None:
    """Take as many file descriptors as so many connections need and the system allows; 1,024 is a common default.

    What the process may have already is never taken away. Fewer than needed are logged, and no error: strangers get
    refusals then, and what stands goes on.
    """
    needed = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if max(soft, allowed) < needed:
        _log.warning("process.descriptors.short", allowed=max(soft, allowed), needed=needed)


def descriptors_in_use() -> float:
    """Return the share of this process's file descriptors in use, 0 to 1; 0 where /proc is missing."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return sum(1 for _ in _FOLDER.iterdir()) / soft if soft > 0 else 0.0
    except OSError:
        return 0.0
