"""Every bound of the seed, with its unit in the name and where it comes from.

Owns: the numbers. Spec: docs/spec/dht.md, "Seeds". Never touches: anything else.
"""

from typing import Final

REMEMBERED_PEERS: Final = 256
"""Servers remembered over a restart: more than one lookup asks, and half a minute of dials at the most."""

REMEMBERED_SECONDS: Final = 30 * 24 * 3_600.0
"""A server not met for a month is forgotten."""

REMEMBERED_FILE_BYTES: Final = 2_097_152
"""256 servers of 8 addresses of 512 characters, twice that for JSON: more is no file of ours."""

JOIN_SECONDS: Final = 60.0
"""The first round of dials to remembered servers; those that did not answer are tried again in the background."""

REMEMBER_SECONDS: Final = 30.0
"""Between two looks at who is there; the file is written only when something changed."""

REFRESHED_SECONDS: Final = 3_600.0
"""A server that is met all the time gets a new last-seen time in the file this often."""

UPKEEP_BOUND_SECONDS: Final = 120.0
"""The seed counts as stuck when it has not looked at its peers for so long."""
