"""The kinds of ways to a contact.

Owns: their names, which are also metric labels (METRICS: `path`). Never touches: connections.
"""

from enum import StrEnum


class PathKind(StrEnum):
    """The way packets to a contact take now."""

    PUBLIC = "public"
    LAN = "lan"
    MAPPED = "mapped"
    PUNCHED = "punched"
    RELAYED = "relayed"
    MAILBOX = "mailbox"  # of messages only: no connection is one
    NONE = "none"
