"""AutoNAT v2: whether an address can be dialed from outside, found out by dialing it. Spec: docs/spec/autonat.md."""

from covey_core.autonat.client import Answer, AutonatClient, Verdict
from covey_core.autonat.limits import NODE_LIMITS, AutonatLimits
from covey_core.autonat.server import AutonatServer, Served, serve_autonat

__all__ = [
    "NODE_LIMITS",
    "Answer",
    "AutonatClient",
    "AutonatLimits",
    "AutonatServer",
    "Served",
    "Verdict",
    "serve_autonat",
]
