"""Every bound of the host, with its unit in the name and where it comes from.

Owns: the numbers of covey_core.host. Spec: docs/spec/host.md. Never touches: anything else.
"""

from typing import Final

# --- connections -----------------------------------------------------------------------------------------------------
MAX_CONNECTIONS: Final = 1_000
"""Connections of a host at once, both directions. 57 KB and 6 tasks an idle one: 57 MB."""

SHARE_PER_IP: Final = 4
"""One address (/32, /56) may hold at most one n-th of all connections: a NAT's users, never the whole host."""

MAX_CONNECTIONS_PER_PEER: Final = 8
"""A peer's connections at once, hard: two relayed, one over TCP, one over QUIC, and as many that replace them."""

KEPT_DIRECT: Final = 1
"""Direct connections of one class (TCP and WebSocket; QUIC) to one peer that stay; the smaller PeerId closes others."""

KEPT_RELAYED: Final = 2
"""Relayed connections to one peer that stay: one over each of two relays."""

MAX_UPGRADES: Final = 128
"""Inbound connections in the handshake at once; 10.6 ms CPU each, so more would miss their deadline anyway."""

MAX_DIALS: Final = 32
"""Outbound dials in flight. go-libp2p: DefaultMaxConcurrentDials."""

DIALED_ADDRESSES: Final = 8
"""Addresses of one peer that one `connect` tries."""

# --- streams ---------------------------------------------------------------------------------------------------------
INBOUND_STREAMS_PER_CONNECTION: Final = 128
"""Streams a peer may have open to us on one connection; more are reset. 32 MiB of first windows."""

UNPROVEN_STREAMS_PER_CONNECTION: Final = 16
"""The same before the connection is admitted: identify, ping, admit and a few that wait."""

OUTBOUND_STREAMS_PER_CONNECTION: Final = 256
"""Streams we may have open on one connection; py-libp2p's Yamux has 256 slots and would wait for ever."""

STREAMS_PER_CONNECTION: Final = 512
"""All streams of a connection, with those that one side has closed and the other has not."""

STREAM_WINDOW_BYTES: Final = 1_048_576
"""To what a stream's receive window grows from 256 KiB: 10 MB/s at 100 ms. Upstream's 16 MiB a stream is our memory."""

STREAM_BUFFER_BYTES: Final = STREAM_WINDOW_BYTES + 65_536
"""Unread bytes of one stream, a window and a frame. A peer that sends past its window (yamux spec) is cut off."""

STREAM_PROTOCOL_BYTES: Final = 1_024
"""One multistream-select message. Covey's longest protocol id has 60 bytes; go-multistream allows 64 KiB."""

STREAM_PROTOCOL_TRIES: Final = 16
"""Protocols a dialer may propose on one stream before it is reset."""

# --- deadlines -------------------------------------------------------------------------------------------------------
DIAL_SECONDS: Final = 10.0
"""One address: TCP connect, Noise, Yamux, admission. go-libp2p's DefaultDialTimeout is 15 s over all of it."""

NEXT_ADDRESS_SECONDS: Final = 0.25
"""How long one address of a peer is tried alone before the next one joins it. RFC 8305, 5."""

UPGRADE_SECONDS: Final = 5.0
"""Noise and Yamux on an accepted connection or circuit."""

NEGOTIATE_SECONDS: Final = 5.0
"""multistream-select on one stream, either side."""

OPEN_STREAM_SECONDS: Final = 5.0
"""`open_stream`: admission of a young connection, and negotiation."""

WRITE_STALL_SECONDS: Final = 10.0
"""One Yamux frame (64 KiB at most) that the socket does not take in this time means that the peer is gone."""

CLOSE_SECONDS: Final = 1.0
"""Telling the peer that a connection or stream ends, before it ends anyway."""

HANDLER_GRACE_SECONDS: Final = 2.0
"""What stream handlers get to notice that their connection is gone, before they are cancelled."""

RETIRE_SECONDS: Final = 3.0
"""What a connection that was replaced by a better one of its kind gets to finish its streams."""

SIMULTANEOUS_SECONDS: Final = 5.0
"""Two dials, one from each side, within this time crossed each other on the way."""

DRAIN_SECONDS: Final = 0.25
"""What a peer gets to acknowledge our last bytes before a TCP connection is reset: a trip around the world."""

DRAIN_POLL_SECONDS: Final = 0.01
"""Between two looks at a socket that tells no event for what we wait for."""

SILENCE_SECONDS: Final = 0.15
"""A peer that punches and has dialed our listener is not the dialer of the handshake if it says nothing for so long.

Whoever is, sends its first message with the TCP handshake's last; go-libp2p and Covey do."""

PUNCHED_ADDRESSES: Final = 16
"""Addresses of one peer that one punch dials, all at once. DCUtR names 4 to 6."""

PUNCHES: Final = 16
"""Punches of a host at once; each may hold 16 sockets."""

PUNCH_TRY_SECONDS: Final = 3.5
"""One TCP connect within a punch: the system's SYNs at 0, 1 and 3 s."""

PUNCH_PAUSE_SECONDS: Final = (0.05, 0.25)
"""From one TCP connect of a punch to the next, at random. A router that answers with a reset also closes the hole: both
SYNs must be on their way at once, and two sides that keep step would miss each other every time."""

PUNCH_QUIC_AFTER_SECONDS: Final = 0.15
"""What TCP gets before QUIC is dialed too: a SYN crosses half the world in that time."""

PUNCH_QUIC_AT_LAST_SECONDS: Final = 1.0
"""When QUIC is dialed although a TCP handshake, which takes four round trips, is still under way."""

SPRAY_SECONDS: Final = (0.01, 0.2)
"""Between two datagrams of a punch, at random. libp2p specs, DCUtR: "random intervals between 10 and 200 ms"."""

PUNCH_TRIES: Final = 40
"""Dials to one address within a punch: 5 s of refusals take 33. A peer named the address; it may be a third party's."""

SPRAY_DATAGRAMS: Final = 64
"""Datagrams to one address within a punch: 5 s take 48; after that the hole is open, or there is nobody."""

LINGER_SECONDS: Final = 30.0
"""A stream that we closed and the peer did not is reset after this."""

PING_SECONDS: Final = 5.0
"""One answer to /ipfs/ping/1.0.0."""

LIVENESS_INTERVAL_SECONDS: Final = 15.0
"""Between two liveness probes of a connection (Yamux ping, 12 bytes)."""

LIVENESS_TIMEOUT_SECONDS: Final = 10.0
"""A probe without an answer for this long closes the connection: a dead peer is noticed within 25 s."""

SHUTDOWN_SECONDS: Final = 4.0
"""Closing all connections and listeners at the end; half of what a process has after SIGTERM."""

# --- QUIC ------------------------------------------------------------------------------------------------------------
QUIC_IDLE_SECONDS: Final = 30.0
"""A QUIC connection on which nothing comes for this long has ended (RFC 9000, 10.1). quic-go: 30 s."""

QUIC_FIRST_STREAM_WINDOW_BYTES: Final = 262_144
"""A QUIC stream's first receive window, as Yamux's; with what is read it grows to `STREAM_WINDOW_BYTES`."""

QUIC_FIRST_CONNECTION_WINDOW_BYTES: Final = 1_048_576
"""Unread bytes of a young QUIC connection, all streams together."""

QUIC_CONNECTION_WINDOW_BYTES: Final = 16_777_216
"""To what that grows: 16 streams that nobody reads do not stop the others."""

QUIC_SEND_BUFFER_BYTES: Final = 524_288
"""Bytes of one stream that are written and not acknowledged: 5 MB/s at 100 ms. aioquic itself keeps any number."""

QUIC_CONNECTION_ID_BYTES: Final = 8
"""Length of our connection ids; strangers' first ones have at least as many (RFC 9000, 7.2)."""

QUIC_FIRST_DATAGRAM_BYTES: Final = 1_200
"""A stranger's shorter datagram is dropped: no answer of ours may be the larger one (RFC 9000, 14.1)."""

QUIC_DATAGRAM_BYTES: Final = 65_535
"""The largest UDP datagram."""

QUIC_DATAGRAMS_AT_ONCE: Final = 64
"""Datagrams taken from a socket before other tasks get their turn: about 10 ms of CPU."""

QUIC_UNVALIDATED_HANDSHAKES: Final = 16
"""Handshakes at one socket before strangers must prove their address first (Retry; RFC 9000, 8.1.2)."""

QUIC_WASTED_SECONDS: Final = 1.0
"""The same after as many first datagrams in this time that nobody can read: 2.3 ms of CPU each, 0.1 ms with Retry."""

QUIC_ENDED_REMEMBERED: Final = 256
"""Connection ids of which we remember that their connection has ended: a datagram each, 20 KB in all."""

QUIC_LAST_WORDS: Final = 3
"""How often a peer that did not hear the end is told again, once a datagram of its own."""

QUIC_UNVALIDATED_TIMES: Final = 3
"""How many times what came may be sent to an address that nobody has proven to be the asker's. RFC 9000, 8.1."""

QUIC_SOCKET_BUFFER_BYTES: Final = 2_097_152
"""What is asked of the system for each direction of a UDP socket; it gives less where its own limit is lower."""

QUIC_BAD_CERTIFICATE: Final = 0x12A
"""CRYPTO_ERROR and TLS alert 42: what a peer is told whose certificate proves nothing. RFC 9001, 4.8."""

# --- others ----------------------------------------------------------------------------------------------------------
WEBSOCKET_MESSAGE_BYTES: Final = 1_048_576
"""One WebSocket message. Ours carry one Noise frame (64 KiB); js-libp2p puts a few into one."""

EVENTS_QUEUED: Final = 1_024
"""Connection events a subscriber may be behind; then it loses the oldest and reads `Host.connections()` again."""

IDENTIFY_BYTES: Final = 16_384
"""One identify answer: a signed record of 16 addresses and 60 protocols has 4 KiB. go-libp2p allows 8 KiB."""

IDENTIFY_ADDRESSES: Final = 32
"""Addresses of one identify answer that are looked at: 0.2 ms each, and 1,600 fit into one message. Ours names 16."""

IDENTIFY_PROTOCOLS: Final = 128
"""Protocols of one identify answer that are kept; a Kubo node names 40."""

IDENTIFY_RECORD_BYTES: Final = 2_048
"""A signed record of the same addresses; a longer one is left out. libp2p parses it, nothing of ours reads it."""

AGENT_CHARS: Final = 128
"""What is kept of a peer's agent string; go-libp2p's default has 20 characters."""

REMEMBERED_PEERS: Final = 4_096
"""Peers whose addresses and protocols libp2p's peer store keeps after they left."""
