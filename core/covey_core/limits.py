"""Every bound of the core, with its unit in the name and where it comes from.

Owns: the numbers. A component's own bounds live in its own `limits.py` in the same way. Never touches: anything else.
"""

from typing import Final

# --- process ------------------------------------------------------------------------------------------------------
SPARE_DESCRIPTORS: Final = 1_000
"""Open files beside connections: databases, HTTP, the DHT's and mailboxes' own hosts, dials that are under way."""

# --- wire ---------------------------------------------------------------------------------------------------------
UVARINT_MAX_BYTES: Final = 9
"""multiformats/unsigned-varint: "implementations must restrict the size of the varint to a max of 9 bytes"."""

FRAME_READ_BUFFER_BYTES: Final = 65_536
"""What one read of a stream asks for; Yamux's initial window is 256 KiB, so four of these fill it."""

ADDRESS_MAX_CHARS: Final = 512
"""One multiaddr as text. The longest honest one (dns4, wss, p2p, p2p-circuit, p2p) stays under 400."""

ADDRESS_MAX_BYTES: Final = 512
"""One multiaddr in binary form, as the circuit protocol carries it."""

CIRCUIT_MESSAGE_BYTES: Final = 4_096
"""One HopMessage or StopMessage. go-libp2p's circuit v2 uses the same bound (maxMessageSize)."""

CIRCUIT_ADDRESSES: Final = 16
"""Addresses in one Peer or Reservation message; more than any listener of ours announces."""

DCUTR_MESSAGE_BYTES: Final = 4_096
"""One HolePunch message. libp2p specs, relay/DCUtR.md: "SHOULD refuse messages larger than 4 KiB"."""

DCUTR_ADDRESSES: Final = 16
"""Addresses of one HolePunch message that are looked at: twice what is dialed, since some lead nowhere for us."""

VOUCHER_MAX_BYTES: Final = 1_024
"""A sealed reservation voucher: envelope key 36 + type 2 + two PeerIds and a time + signature 64, and slack."""

AUTONAT_MESSAGE_BYTES: Final = 8_192
"""One message of AutoNAT v2 on the dial-request stream. go-libp2p's bound (maxMsgSize)."""

AUTONAT_DIAL_BACK_BYTES: Final = 1_024
"""One message on the dial-back stream. go-libp2p's bound (dialBackMaxMsgSize); ours have 9 bytes."""

AUTONAT_ADDRESSES: Final = 50
"""Addresses of one dial request that are looked at, the rest is ignored. go-libp2p: maxPeerAddresses."""

AUTONAT_DATA_BYTES: Final = 4_096
"""The data in one DialDataResponse; autonat-v2, "Amplification Attack Prevention"."""

REPORT_MESSAGE_BYTES: Final = 1_024
"""One punch report: at most 60 kinds (3 outcomes, 4 transports, 5 pairs) of 10 bytes each."""

REPORT_PUNCHES: Final = 64
"""Punches told in one report; a node with more tells the rest later."""

# --- mailboxes --------------------------------------------------------------------------------------------------------
MAILBOX_BLOB_BYTES: Final = (4_112, 16_400, 65_552)
"""A deposited blob: a packet of 4, 16 or 64 KiB (docs/spec/e2ee.md) under one more seal with a tag of 16 bytes."""

MAILBOX_HELLO_BYTES: Final = 512
"""The relay's first frame: two keys, a signature and two times are under 170 bytes."""

MAILBOX_REQUEST_BYTES: Final = 77_824
"""One request: the largest blob, sealed once more to be forwarded (67 KB), or a full delivery of keys (74 KB)."""

MAILBOX_RESPONSE_BYTES: Final = 262_144
"""One answer: Yamux's first window. Holds 63 small messages, 15 middle or 3 large ones."""

MAILBOX_SEALED_BYTES: Final = 66_560
"""What is forwarded in one request: the largest blob, 1 KiB for ids, proof, signature, key and padding."""

MAILBOX_FORWARDED_BYTES: Final = (3_072, 12_288)
"""A forwarded answer is padded to the smaller one that holds it: only keys (10.3 KB) and a long HAVE need the other."""

MAILBOX_TTL_SECONDS: Final = 30 * 86_400
"""The longest that a relay keeps a message (DESIGN 5); clients ask for 21 days."""

MAILBOX_ACK_MIDS: Final = 1_024
"""Messages acknowledged or asked for at once: a whole queue (DESIGN 5)."""

MAILBOX_HAVE_MIDS: Final = 256
"""Messages asked for in one HAVE; an outbox of more asks again."""

MAILBOX_STOCK_KEYS: Final = 32
"""Prekeys delivered in one request: 32 of the largest fit it."""

MAILBOX_PREKEY_BYTES: Final = 2_048
"""One prekey: X25519 (32) and ML-KEM-768 (1,184) keys, ids and a signature are under 1.4 KB."""

MAILBOX_BUNDLE_BYTES: Final = 8_192
"""One prekey bundle: a device's keys and their signatures (4 KB) and its account's list of devices."""

MAILBOX_TOKENS: Final = 64
"""One-use tokens of a contact queue: so many open invites share it."""

MAILBOX_WORK_BITS: Final = 24
"""The hardest work: 2**24 hashes, 8 s of one core in Python (0.45 us each) and under 1 s in C."""

# --- network file and link -------------------------------------------------------------------------------------------
NETWORK_NAME_CHARS: Final = 64
"""A network's name: fits one line of a terminal."""

OPERATOR_NAME_CHARS: Final = 64
"""A relay operator's name, as a person reads it."""

NETWORK_BOOTSTRAPS: Final = 32
"""Bootstrap addresses in a network file; more belong behind DNS."""

NETWORK_RELAYS: Final = 64
"""Relay entries in a network file."""

RELAY_ADDRESSES: Final = 8
"""Addresses of one relay entry: tcp, ws and wss over two families, and two spare."""

NETWORK_SUBNETS: Final = 32
"""Subnets of a private scope."""

NETWORK_FILE_BYTES: Final = 262_144
"""A network file at all bounds above is under 256 KiB: 64 relays of 8 addresses are the most of it."""

LINK_MAX_CHARS: Final = 16_384
"""A `covey:` link: what messengers, mail programs and shells still pass in one piece."""

LINK_KIND_CHARS: Final = 16
"""The word between `covey:` and the dot."""

QR_MAX_CHARS: Final = 2_953
"""Bytes that the largest QR code (version 40, level L) holds. ISO/IEC 18004."""

# --- files -----------------------------------------------------------------------------------------------------------
IDENTITY_FILE_BYTES: Final = 4_096
"""An identity file is under 200 bytes; more is not one of ours."""

SECRET_FILE_BYTES: Final = 65_536
"""A secret given as a file: a passphrase, a key, a token."""

# --- admission -------------------------------------------------------------------------------------------------------
ADMISSION_DEADLINE_SECONDS: Final = 5.0
"""From the connection to the proof of both sides; DESIGN 2."""

ADMISSION_NONCE_BYTES: Final = 32
"""One side's nonce: never met twice by chance, also over the life of a key."""

# --- contact records -------------------------------------------------------------------------------------------------
RECORD_CIPHERTEXT_BYTES: Final = 24_576
"""A contact record's ciphertext. Device list, seal key, last-resort KEM key (1.2 KB each) of 8 devices fit."""

RECORD_VALID_SECONDS: Final = 48 * 3_600
"""How far ahead a record's expiry may lie: its own day, and the days before and after that readers try."""

RECORD_CLOCK_SKEW_SECONDS: Final = 2 * 3_600
"""By how much the publisher's clock may run ahead of the holder's."""

AHEAD_DAYS: Final = 30
"""Days for which records are signed ahead, today's not counted (DESIGN 6); private prekeys are kept as long."""

AHEAD_REQUEST_BYTES: Final = 24_768
"""One record (24,693 bytes) or a withdrawal, and protobuf's fields around it."""

AHEAD_ANSWER_BYTES: Final = 16
"""Two small numbers."""

AHEAD_RETRY_SECONDS: Final = 86_400
"""The longest that a relay sends somebody away: the next day is another allowance."""

# --- process ---------------------------------------------------------------------------------------------------------
SHUTDOWN_SECONDS: Final = 8.0
"""From SIGTERM to cancellation: 2 s less than the 10 s after which container engines kill."""

OPS_CONNECTIONS: Final = 32
"""Connections to the operations port at once: Prometheus, a health checker, a few people."""

OPS_KEEP_ALIVE_SECONDS: Final = 30.0
"""An idle connection to the operations port; scrape intervals are 15 s."""

OPS_READ_SECONDS: Final = 10.0
"""A request to the operations port must be complete in this time."""

HEALTH_CHECKS: Final = 32
"""Heartbeat and readiness checks a component may register."""

SHUTDOWN_HARD_SECONDS: Final = 9.5
"""From SIGTERM to the end of the process when cancellation has not helped."""

OPS_REQUEST_BYTES: Final = 8_192
"""The head of a request to the operations port."""
