"""Every bound of AutoNAT v2, with its unit in the name and where it comes from.

Owns: the numbers of covey_core.autonat, and `AutonatLimits`, what one server gives at most. Spec: docs/spec/autonat.md.
Never touches: anything else.
"""

from dataclasses import dataclass
from typing import Final

# --- both sides ------------------------------------------------------------------------------------------------------
DATA_BYTES_MIN: Final = 30_000
"""The least dial data a server asks for: autonat-v2, "30kB is sufficient to make attacks unattractive"."""

DATA_BYTES_MAX: Final = 100_000
"""The most, and the most that we send as a client; autonat-v2 and go-libp2p (maxHandshakeSizeBytes)."""

DATA_CHUNK_BYTES: Final = 4_000
"""Dial data in one message of ours; the spec allows 4,096, go-libp2p sends 4,000."""

# --- the server ------------------------------------------------------------------------------------------------------
SERVE_SECONDS: Final = 14.0
"""From the first byte of a request to our answer. go-libp2p's clients give up after 15 s (streamTimeout)."""

REQUEST_SECONDS: Final = 5.0
"""How long a request stream may stay silent before its request has come whole."""

DATA_SECONDS: Final = 6.0
"""How long 100 KB of dial data may take: 17 KB/s, less than any line that a node could serve somebody on."""

DATA_CHUNK_MIN_BYTES: Final = 100
"""Smallest message of dial data but the last: each costs us a decoding. go-libp2p refuses less than 100 bytes."""

DIAL_SECONDS: Final = 8.0
"""The dial-back: TCP or QUIC, Noise, Yamux, admission; leaves time for the nonce within SERVE_SECONDS."""

NONCE_SECONDS: Final = 5.0
"""From the connection to the answer to our nonce. go-libp2p: dialBackStreamTimeout."""

ANSWER_SECONDS: Final = 1.0
"""How long the asker may take to take our answer."""

SPREAD_SECONDS: Final = 3.0
"""Longest random wait before an address that is not the asker's is dialed: many askers who name one victim at the same
moment do not meet there. go-libp2p: amplificatonAttackPreventionDialWait."""

WINDOW_SECONDS: Final = 60.0
"""Over what rates are counted."""

# --- the client ------------------------------------------------------------------------------------------------------
ASK_SECONDS: Final = 20.0
"""One question, from its stream to its answer: 5 s more than the slowest server takes."""

DIAL_BACK_SECONDS: Final = 5.0
"""How long a dial-back's stream may take to bring its nonce, and how long we wait for a nonce after the answer."""

OUTSTANDING: Final = 16
"""Questions under way at once: 8 addresses at two servers each."""


@dataclass(frozen=True, slots=True)
class AutonatLimits:
    """What one server gives at most, in a minute unless said otherwise.

    The defaults are a relay's: 4,000 nodes that ask for four addresses every 30 minutes make 530 requests a minute,
    each costs 20 ms of CPU, both sides together. `NODE_LIMITS` are a node's.
    """

    requests: int = 600
    requests_per_peer: int = 12  # go-libp2p: 12
    requests_per_ip: int = 60  # an IPv4 address or an IPv6 /56: a household, an office
    requests_per_site: int = 120  # an IPv6 /48
    dials_with_data: int = 60  # of addresses that are not the asker's; 6 MB a minute come in for them at most
    dials_with_data_per_ip: int = 12  # asked for by one IPv4 address, IPv6 /56
    dials_with_data_per_target: int = 4  # of one such IPv4 address, IPv6 /56: nobody is hammered through us
    under_way: int = 32  # at once; each holds a host of its own for up to SERVE_SECONDS
    under_way_per_ip: int = 8  # at once; who names ports that never answer holds each for 8 s
    under_way_per_peer: int = 2  # at once; go-libp2p: 2


NODE_LIMITS: Final = AutonatLimits(
    requests=60, requests_per_ip=12, requests_per_site=24, dials_with_data=12, under_way=4, under_way_per_ip=2
)
"""What a node gives that is no relay: go-libp2p's default rates."""
