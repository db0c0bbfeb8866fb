"""Sizes, counts and lifetimes of the end-to-end encryption.

Owns: every bound of the room, with its unit and its source. Spec: docs/spec/e2ee.md section 2.
Never touches: keys.
"""

from __future__ import annotations

DAY_SECONDS = 86_400  # a UTC day: leap seconds do not count in Unix time

BUCKETS_BYTES = (4_096, 16_384, 65_536)
"""The three sizes a packet on the wire can have: what it carries cannot be read off its length (DESIGN 4)."""

MAX_DEVICES = 16
"""Devices in one account's list: sending fans out to all of them."""

MAX_REVOCATIONS = 64
"""Revoked devices a list carries; they never come back, so none may be forgotten."""

MAX_SKIP_MESSAGES = 2_000
"""Message keys derived ahead in one chain (DESIGN 4; Signal Double Ratchet 8.4 leaves the number open)."""

MAX_STORED_KEYS = 4_000
"""Skipped message keys kept by one session; beyond that the oldest go."""

MAX_OLD_HEADER_KEYS = 5
"""Receiving chains, besides the current one, whose skipped keys are kept: each costs a forged packet one more trial."""

SKIPPED_KEY_SECONDS = 31 * DAY_SECONDS
"""How long a skipped key waits for its packet: a mailbox keeps one for 30 days at most (DESIGN 5)."""

ROTATION_SECONDS = 7 * DAY_SECONDS
"""Age at which signed prekey, last-resort key and seal key are replaced (DESIGN 4)."""

RETENTION_SECONDS = 45 * DAY_SECONDS
"""How long private prekeys outlive their last publication (DESIGN 4)."""

SIGNED_AHEAD_SECONDS = 30 * DAY_SECONDS
"""How long after its week a generation may still be published for a device that is offline (DESIGN 6)."""

MAX_GENERATIONS = 64
"""Prekey generations that a store holds; weekly rotation and 45 days need 8, 30 days signed ahead 12."""

MAX_ONE_TIME_KEYS = 500
"""One-time prekey pairs made for askers over direct streams; each relay's share is kept apart from these."""

CLOCK_SKEW_SECONDS = DAY_SECONDS
"""How far in the future a signed time may lie: clocks of end users differ by hours, seldom by a day."""

ARGON2_OPERATIONS = 4  # passes
ARGON2_MEMORY_BYTES = 128 * 1024 * 1024
"""About 0.3 s on the reference machine; above RFC 9106's second recommendation (3 passes, 64 MiB)."""

ARGON2_MAX_OPERATIONS = 32  # passes
ARGON2_MAX_MEMORY_BYTES = 1024 * 1024 * 1024
"""What a stored wrap may ask for: a damaged file must not take all memory."""
