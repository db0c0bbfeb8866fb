"""Every bound of the DHT and the rendezvous point, with its unit in the name and where it comes from.

Owns: the numbers of `dht*`, `kad_*` and `rendezvous*`. Never touches: anything else.
"""

from typing import Final

# --- Kademlia ----------------------------------------------------------------------------------------------------
BUCKET_PEERS: Final = 20
"""k: peers a bucket, holders a value, peers an answer. libp2p specs, kad-dht, "Replication parameter"."""

CONCURRENT_REQUESTS: Final = 6
"""alpha. The specification's default is 3, go-libp2p uses 10; 6 keeps one dead peer from halving a small network."""

BUCKETS: Final = 256
"""SHA-256 has 256 bits. libp2p specs, kad-dht, "Kademlia routing table"."""

SUBNET_PEERS: Final = 3
"""Peers of one globally routable /24 or /48 in a bucket: peer ids are cheap, subnets less so (eclipse)."""

LOOKUP_CANDIDATES: Final = 256
"""Peers that one lookup remembers: what 12 answers of k peers hold."""

QUORUM_HOLDERS: Final = 8
"""A read ends early when so many holders answered with a value; the newest of 8 of 20 is the newest one."""

# --- routing entries ---------------------------------------------------------------------------------------------
PEER_ADDRESSES: Final = 8
"""Addresses kept and told of one peer: tcp, ws and wss over two families, and two spare."""

PEER_FORGOTTEN_SECONDS: Final = 24 * 3_600.0
"""A server that did not answer for a day leaves the table; a restarted one is found again before."""

PEER_RETRY_SECONDS: Final = 15.0
"""The first pause after a failed request; doubles with each failure."""

PEER_RETRY_MAX_SECONDS: Final = 1_800.0
"""The longest pause after failed requests."""

# --- requests ----------------------------------------------------------------------------------------------------
DIAL_SECONDS: Final = 3.0
"""Connection and admission of a peer for a request: 6 round trips of half a second."""

REQUEST_SECONDS: Final = 3.0
"""One request and its answer on a new stream."""

PATIENCE_SECONDS: Final = 1.0
"""How long a get that has a value, and a put that looks for holders, still waits for the slow servers."""

OPERATION_SECONDS: Final = 15.0
"""A put or a get as a whole."""

REFRESH_SECONDS: Final = 300.0
"""Between two refreshes of the table. libp2p specs, kad-dht, "Bootstrap process": 5 minutes."""

UPKEEP_SECONDS: Final = 5.0
"""Between two looks at an empty table (join again) and at failed servers whose pause is over."""

PUT_PATIENCE_SECONDS: Final = 2.0
"""How long a put that has a holder still waits for the others."""

SEED_ADDRESSES: Final = 256
"""Bootstrap addresses that a DHT remembers to join again."""

# --- serving -----------------------------------------------------------------------------------------------------
MESSAGE_BYTES: Final = 131_072
"""One message: a record of 32 KiB and k peers of 8 addresses of 512 bytes at the most."""

KEY_BYTES: Final = 50
"""Record keys of ours have 46 bytes; py-libp2p's DHT routes no key over 50 that is no multihash."""

TARGET_BYTES: Final = 128
"""What FIND_NODE and GET_PROVIDERS may ask for: a PeerId of any kind or a CID. go-libp2p's bound."""

VALUE_BYTES: Final = 32_768
"""One value; a contact record has 24 KiB and a little at its bounds."""

RECORDS: Final = 50_000
"""Records a server holds: a community of 10,000 accounts publishes 1 a day and keeps 2."""

RECORDS_BYTES: Final = 134_217_728
"""Records a server holds, 128 MiB: a relay stays under 600 MB (DESIGN 10)."""

SOURCE_RECORDS: Final = 2_000
"""Records from one source (IPv4 address, IPv6 /56): a large household or office behind one NAT."""

RELAY_RECORDS: Final = 12_500
"""Records from one relay of the network, a quarter of all: it publishes for those who are offline (ahead.md)."""

RECORD_SECONDS: Final = 24 * 3_600.0
"""After this a value is gone unless it was put again. DESIGN 6: republished every 6 h."""

PEER_STREAMS: Final = 16
"""DHT streams of one peer at once; one more is reset. Ours open 6, go-libp2p's and js-libp2p's lookups 10."""

STREAMS: Final = 1_024
"""DHT streams at once; a newer one pushes out the one that has been idle longest."""

STREAM_IDLE_SECONDS: Final = 10.0
"""An open stream on which no request comes; also the time a request may take to arrive."""

PEER_REQUESTS_PER_SECOND: Final = 50.0
"""Requests of one peer, sustained: a twentieth of a core."""

PEER_REQUESTS_BURST: Final = 1_000.0
"""Requests of one peer at once: a node that starts looks up 300 contacts on three days each."""

PEERS_RATED: Final = 8_192
"""Peers whose request rate is remembered."""

INTRODUCTIONS: Final = 64
"""Peers at once that a server asks whether they are servers themselves."""

INTRODUCED_PEERS: Final = 8_192
"""Peers remembered as asked, so that a client is not asked at every request."""

INTRODUCED_SECONDS: Final = 600.0
"""After this a peer that was no server is asked again when it makes a request."""

IDENTIFY_BYTES: Final = 65_536
"""One identify answer. go-libp2p's bound is 8 KiB of 16 messages."""

IDENTIFY_ADDRESSES: Final = 32
"""Listen addresses read from one identify answer; at most 8 that may be dialled are kept."""

# --- rendezvous --------------------------------------------------------------------------------------------------
RENDEZVOUS_MESSAGE_BYTES: Final = 131_072
"""One message: 60 registrations whose signed records are at their bound of 2 KiB; honest ones have 300 bytes."""

RENDEZVOUS_NAMESPACE_BYTES: Final = 255
"""libp2p specs, rendezvous, "Recommendations": namespaces of at most 255 bytes."""

RENDEZVOUS_RECORD_BYTES: Final = 2_048
"""A signed peer record: key 36, signature 64 and 8 addresses."""

RENDEZVOUS_TTL_SECONDS: Final = 2 * 3_600
"""Default time to live. libp2p specs, rendezvous, "Registration Lifetime": 2 hours."""

RENDEZVOUS_TTL_MIN_SECONDS: Final = 60
"""Shorter ones are refused: they only cost work. The specification recommends 2 hours as a minimum."""

RENDEZVOUS_TTL_MAX_SECONDS: Final = 72 * 3_600
"""libp2p specs, rendezvous, "Recommendations": 72 hours."""

RENDEZVOUS_NAMESPACES: Final = 64
"""Namespaces at a point; Covey uses one."""

RENDEZVOUS_REGISTRATIONS: Final = 4_096
"""Registrations at a point, over all namespaces."""

RENDEZVOUS_PEER_REGISTRATIONS: Final = 16
"""Registrations of one peer. The specification recommends 1,000 for a public point of many applications."""

RENDEZVOUS_SECONDS: Final = 8.0
"""One question to a point and its answer; a registration makes the point ask back who we are."""

RENDEZVOUS_PAGE: Final = 60
"""Registrations in one answer; the cookie leads to the next ones."""
