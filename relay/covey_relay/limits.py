"""What a relay gives at most: every bound of circuits and mailboxes, with its unit and its reason.

Owns: the defaults, and `RelayLimits` and `MailboxLimits`, the values an operator may change. Spec: docs/spec/circuit.md
and docs/spec/mailbox.md, sections "Limits".
Never touches: the environment (see settings.py), the tables that enforce the values.
"""

from dataclasses import dataclass

MIB = 1024 * 1024
DAY_SECONDS = 86_400

RESERVATION_SECONDS = 3600.0
"""How long a reservation stands, seconds: one hour, as all libp2p implementations grant; clients refresh earlier."""

MAX_RESERVATIONS = 4000
"""Reservations in all (DESIGN 10: 4,000 reservations and 1,000 circuits in 600 MB)."""

MAX_RESERVATIONS_PER_IPV4 = 32
"""Reservations behind one IPv4 address: a household, an office or a slice of a carrier's NAT, not a farm."""

MAX_RESERVATIONS_PER_IPV6_56 = 32
"""Reservations of one IPv6 /56, what one customer is usually delegated (RIPE-690)."""

MAX_RESERVATIONS_PER_IPV6_48 = 128
"""Reservations of one IPv6 /48, the largest that one customer is usually delegated (RIPE-690)."""

MAX_CIRCUITS = 1000
"""Circuits in all, those still being opened included (DESIGN 10)."""

MAX_CIRCUITS_PER_PEER = 64
"""Circuits in which one peer is an end, as source or as target: every contact of a busy node may take one."""

MAX_CIRCUITS_PER_PAIR = 8
"""Circuits from one source to one target: a reconnecting client overlaps with its own stale circuits."""

MAX_CIRCUITS_PER_IPV4 = 128
"""Circuits with an end behind one IPv4 address."""

MAX_CIRCUITS_PER_IPV6_56 = 128
"""Circuits with an end in one IPv6 /56."""

MAX_CIRCUITS_PER_IPV6_48 = 256
"""Circuits with an end in one IPv6 /48."""

CIRCUIT_SECONDS = 2 * 3600
"""How long one circuit may stand, seconds, idle or not (DESIGN 9: renewed by clients before the end)."""

CIRCUIT_BYTES = 256 * MIB
"""Bytes that one circuit may carry in each direction (DESIGN 9)."""

MAX_HANDSHAKES_PER_PEER = MAX_CIRCUITS_PER_PEER
"""Hop streams of one peer whose first message has not come yet; more are reset. A client may
dial all its circuits at once."""

HOP_READ_SECONDS = 10.0
"""How long a hop stream may stay silent before its first message has come whole."""

STOP_SECONDS = 15.0
"""How long the target may take to accept a circuit: opening the stop stream, our message and its answer."""

STATUS_WRITE_SECONDS = 10.0
"""How long a peer may take to take a status from us."""

MAX_MESSAGE_BYTES = 4096
"""Largest hop or stop message, without its length prefix; what go-libp2p and js-libp2p send and accept."""

RESERVATION_ADDRS = 8
"""Addresses of the relay in one reservation: tcp, ws and wss over two families, and two spare."""

RESERVATION_ADDRS_BYTES = 2048
"""Their size together: half of the largest message."""

READ_BYTES = 128 * 1024
"""Most bytes taken from one side of a circuit before they are written to the other: two Yamux frames, in one turn."""

SWEEP_SECONDS = 30.0
"""How often slots are compared with the connections that really stand, should an event have been lost."""

REPORTS_PER_PEER = 4
"""Punch reports of one peer within the window below; an honest node sends one in half an hour at most."""

REPORT_WINDOW_SECONDS = 3600.0
"""The window; with 64 punches a report, a peer adds at most 256 an hour to the sums."""

REPORTING_PEERS = 4096
"""Peers whose reports are remembered for that long, more than may hold a slot; 200 bytes each."""

REPORT_READ_SECONDS = 10.0
"""How long a report may take to come whole."""

MAILBOX_QUEUE_MESSAGES = 1024
"""Messages in one queue (DESIGN 5): weeks of one contact's writing; more would be somebody's flood."""

MAILBOX_QUEUE_BYTES = 8 * MIB
"""Bytes of blobs in one queue (DESIGN 5): 2,040 small messages or 127 large ones."""

MAILBOX_TTL_SECONDS = 21 * 86_400
"""How long a message is kept at most unless the operator says otherwise, seconds (DESIGN 5: 21 days, 30 at most)."""

MAILBOX_EXPIRY_STEP_SECONDS = 3600
"""Ends of messages are rounded up to this: a stolen disk tells hours, not seconds."""

MAILBOX_ACKED_SECONDS = 2 * 86_400
"""How long the id of an acknowledged message is remembered: as long as a forwarder could repeat its deposit."""

MAILBOX_IDLE_SECONDS = 90 * 86_400
"""A queue whose owner has not asked for it in this time is deleted: three times the longest life of a message."""

MAILBOX_QUEUE_KEYS = 100
"""One-time keys in one queue: first contacts of some weeks; 200 KB at most."""

MAILBOX_QUEUES = 200_000
"""Queues in all: 4,000 people with 50 contacts each, 300 bytes a queue."""

MAILBOX_DISK_BYTES = 4 * 1024 * MIB
"""The database at most, bytes: 900,000 small messages."""

MAILBOX_CACHE_BYTES = 64 * MIB
"""SQLite's page cache: the index of message ids of a million messages (50 MB) stays in memory."""

MAILBOX_WAL_PAGES = 16_384
"""Pages after which the write-ahead log is moved into the file: 64 MiB, so that index pages are moved seldom."""

MAILBOX_FREE_BYTES = 128 * MIB
"""Left free on the disk: acknowledging and expiry write a log too, and moving it into the file takes as much again."""

MAILBOX_FREE_SHARE = 8
"""On a disk of less than 1 GiB this part of it is left free instead, and the write-ahead log is half of that."""

MAILBOX_BATCH = 512
"""Operations in one commit: enough to share a flush, few enough that nobody waits long behind it."""

MAILBOX_BATCH_BYTES = 8 * MIB
"""Blobs in one commit, and so about what it writes."""

MAILBOX_LINE = 4096
"""Operations that wait for their commit; who comes then waits before he is in the line."""

MAILBOX_ARRIVALS_SECONDS = 1.0
"""One wait for what other relays deposit, seconds: so long may it hold up the end of the process."""

MAILBOX_POSTGRES_CONNECT_SECONDS = 5
"""Time to reach the database's server, seconds; it lies beside the relay."""

MAILBOX_POSTGRES_SECONDS = 10
"""One statement, and how long a relay that hangs may hold rows that others want: a batch takes milliseconds."""

MAILBOX_POSTGRES_TRIES = 3
"""Tries of a batch that the server has ended to loosen a knot between relays, or whose connection was lost."""

MAILBOX_IDLE_STEP = 16
"""Idle queues removed in one step; each may hold 1,024 messages."""

MAILBOX_SHED_NEW = 0.85
"""Share of the disk from which no new queue is made: the first to be refused, nothing waits in it yet."""

MAILBOX_SHED_CONTACT = 0.90
"""Share of the disk from which contact queues take nothing: strangers give way to contacts."""

MAILBOX_SHED_FORWARDED = 0.95
"""Share of the disk from which forwarded deposits are refused: nobody can be held to account for them."""

MAILBOX_FULL_RETRY_SECONDS = 600
"""What is said to somebody refused for want of disk: expiry runs every few minutes."""

MAILBOX_WORK_BITS = 18
"""The least work of a stranger: 2**18 hashes, 0.1 s of one core in Python."""

MAILBOX_WORK_FREE_MESSAGES = 16
"""Depth of a queue from which work doubles, and again at each doubling of the depth."""

MAILBOX_WORK_SLACK_BITS = 1
"""By so many bits a queue may outgrow a challenge that was issued: two strangers do not hinder each other."""

MAILBOX_WORK_SECONDS = 600
"""How long a challenge holds: the hardest work takes a slow phone a few minutes."""

MAILBOX_WORK_SPENT = 65_536
"""Challenges remembered as used, 100 bytes each: a hundred accepted a second over their 10 minutes."""

MAILBOX_PEER_RATE = 200.0
"""Commands a second of one peer in the long run: a thousand waiting messages of 50 queues are there in seconds."""

MAILBOX_PEER_BURST = 2000
"""Commands at once of one peer: a sender who comes back deposits what has gathered."""

MAILBOX_PATIENCE_SECONDS = 1.0
"""Who asks faster than that is read slower; who would have to wait longer than this is told so instead."""

MAILBOX_NEW_RATE = 60 / 3600
"""Queues a second that one peer makes in the long run: one an added contact."""

MAILBOX_NEW_BURST = 120
"""Queues at once: somebody with 100 contacts moves to this relay."""

MAILBOX_ADDRESS_FACTOR = 5
"""An address may do so many times what a peer may: a household, or throw-away PeerIds of one node."""

MAILBOX_STRANGER_RATE = 1.0
"""Deposits on contact queues, keys and challenges a second of one address: people do not meet faster."""

MAILBOX_STRANGER_BURST = 120
"""The same at once: an event where many scan one code behind one router."""

MAILBOX_FORWARD_RATE = 20.0
"""Commands forwarded a second for one peer: a forwarder spends a stream and two transfers on each."""

MAILBOX_FORWARD_BURST = 200
"""The same at once: an outbox of some days."""

MAILBOX_LISTED_FACTOR = 10
"""A relay of the network file may ask so many times what a peer may: it forwards for many."""

FORWARD_SECONDS = 15.0
"""How long another relay may take for one forwarded command; a commit takes milliseconds."""

FORWARD_OPEN_SECONDS = 10.0
"""Connecting to another relay and hearing its Hello."""

FORWARD_OPEN_AGAIN_SECONDS = (0.05, 0.5)
"""Pauses before it is tried again, when a connection turned out to be dead."""

FORWARD_IDLE_SECONDS = 60.0
"""A stream to another relay on which nothing was forwarded for so long is ended; the other side would, at 120 s."""

FORWARD_PAUSE_SECONDS = 5.0
"""A relay that could not be reached, or was silent, is not asked again before."""

FORWARD_PAUSE_DOUBLINGS = 7
"""So often it is doubled, up to 640 s, for a relay that is known from rendezvous alone: to be one costs nothing."""

FORWARD_FORGET_SECONDS = 3600
"""After so long without another failure the pause begins anew."""

FORWARD_DIAL_RATE = 1.0
"""Connections a second to relays that are known from rendezvous alone: such may name addresses that are not theirs."""

FORWARD_DIAL_BURST = 30
"""The same at once: as many as a large network has."""

FORWARD_WAITING = 256
"""Commands that wait for one relay's answers: what it lets be unanswered on a stream."""

FORWARDS = 512
"""Commands being forwarded at once, in all: 34 MB of the largest."""

FORWARDS_PER_ADDRESS = 128
"""The same of one address: what a node deposits at once, and a quarter, so that nobody closes the way for all."""

FORWARDS_UNLISTED = 256
"""The same to relays that are known from rendezvous alone, all together: half; each may be silent, and then pauses."""

FORWARD_LINKS = 64
"""Streams to other relays that are about to be opened."""

KNOWN_RELAYS = 1024
"""Relays remembered from rendezvous, 300 bytes each."""

KNOWN_RELAYS_SECONDS = 600.0
"""Between two looks at the rendezvous points."""

MAILBOX_FORWARD_KEY_SECONDS = 86_400
"""For how long writers are told one forward key (docs/spec/mailbox.md): a thief of the memory opens a day's."""

MAILBOX_FORWARD_GRACE_SECONDS = 86_400
"""For how long the key is good after that: a command may have been sealed a moment before the next one was told."""

MAILBOX_FORWARD_KEYS = 4
"""Forward keys at once: two by the above, and two when the clock was set meanwhile."""

MAILBOX_SEEN = 16_384
"""Peers and addresses remembered for each of these windows, 150 bytes each."""

MAILBOX_UNANSWERED = 256
"""Requests of one stream without an answer; then nothing more is read of it."""

MAILBOX_UNANSWERED_BYTES = 256 * 1024
"""The same in bytes of frames: 60 small deposits; pipelining gains nothing beyond a window."""

MAILBOX_ROUND_PAGES = 2
"""Pages (GET) of one stream in memory at once, a quarter MiB each."""

MAILBOX_PAGE_BYTES = 63 * 4_112
"""Blobs in one answer: 63 small, 15 middle or 3 large ones, with 40 bytes each, fit 262,144 bytes."""

MAILBOX_PUSHED_QUEUES = 8
"""Queues of one stream from which is pushed at once."""

MAILBOX_PUSHED_BYTES = 64 * 1024
"""Blobs pushed of one queue before the others have their turn; one is always pushed."""

MAILBOX_PUSHED_MESSAGES = 16
"""The same in messages: 15 small ones fill that."""

MAILBOX_TURNS = 128
"""Streams that have pages in memory, half a MiB each, until their client has taken them: 64 MiB."""

MAILBOX_TURNS_PER_ADDRESS = 16
"""The same of one address: who takes pages and reads slowly hinders his neighbours only."""

MAILBOX_COMPLAINT_SECONDS = 60.0
"""A store that fails is told of in the log this often."""

MAILBOX_STREAM_IDLE_SECONDS = 120.0
"""A stream without a subscription on which nothing is asked for this long ends."""

MAILBOX_WRITE_BYTES = 64 * 1024
"""Answers are written in pieces of about this size."""

MAILBOX_WRITE_SECONDS = 30.0
"""How long a client may take to take one piece: 2 KB a second at least."""

MAILBOX_SUBSCRIPTIONS = 4096
"""Queues that one stream may be subscribed to, 500 bytes each: more contacts than anybody has."""

MAILBOX_STREAMS = 8192
"""Mailbox streams in all: two of each connected peer; three tasks, 20 KB each."""

MAILBOX_STREAMS_PER_PEER = 8
"""Streams of one peer: a client needs one, and for a while one that replaces it."""

MAILBOX_STREAMS_PER_ADDRESS = 256
"""Streams of one address: throw-away PeerIds of a household, or of one node that takes one for each queue."""

MAILBOX_VERIFIED_AT_ONCE = 16
"""Signatures checked before other tasks get their turn: 2 ms."""

MAILBOX_SWEEP_SECONDS = 15.0
"""Between two looks for what is over; each costs three look-ups in indexes when there is nothing."""

MAILBOX_EXPIRED_AT_ONCE = 1000
"""Messages deleted in one step: about 20 ms, between two commits of others."""

MAILBOX_GIVEN_BACK_AT_ONCE_BYTES = 4 * MIB
"""Disk space given back in one step: a thousand pages moved."""

MAILBOX_GIVE_BACK_SWEEPS = 20
"""After so many sweeps (5 minutes) space freed by acknowledgements is given back too; until then it is used anew."""

MAILBOX_USAGE_SECONDS = 1.0
"""For how long what was measured of the disk is believed; deposits since then are added."""

MAILBOX_FAILED_RETRY_SECONDS = 60
"""What is said to whoever asked when the store failed."""

AHEAD_RECORDS = 150_000
"""Records signed ahead that lie here, withdrawn ones too: 4,000 accounts with 31 each, and a fifth more."""

AHEAD_DISK_BYTES = 1024 * MIB
"""The same in bytes: 150,000 records of 6 KiB and a little, one device's with its addresses."""

AHEAD_DAYS_AHEAD = 31
"""Days ahead that a record may be for: the 30 that nodes sign (DESIGN 6), and one for clocks around midnight."""

AHEAD_WAL_BYTES = 16 * MIB
"""The write-ahead log is cut back to this: a node's month is 200 KB."""

AHEAD_RATE = 64 / 3600
"""Requests a second of one PeerId in the long run; honest ones make one request under each."""

AHEAD_BURST = 64
"""The same at once: a month taken back and left anew over one connection."""

AHEAD_ADDRESS_FACTOR = 10
"""An address may ask so many times as often: some households behind one router leave their months on one evening."""

AHEAD_NEW_RATE = 62 / 86_400
"""New keys a second from one address in the long run: two changes of record keys a day, or 62 nodes' new days."""

AHEAD_NEW_BURST = 310
"""New keys at once from one address: ten nodes that leave their month."""

AHEAD_SEEN = 16_384
"""Peers and addresses remembered for these windows, 150 bytes each."""

AHEAD_STREAMS = 256
"""Requests at once, further ones are reset: 6 MB, and as many in the line for the disk."""

AHEAD_READ_SECONDS = 10.0
"""A request must be whole in this time; 25 KB over a slow line."""

AHEAD_WRITE_SECONDS = 10.0
"""How long a peer may take to take an answer of a few bytes."""

AHEAD_BUSY_SECONDS = 60
"""When somebody shall come back after the disk did not work."""

AHEAD_PUBLISH_SECONDS = 6 * 3600
"""Between two publications of a record (DESIGN 6): storing nodes forget after 24 h, and when they restart."""

AHEAD_PUBLISH_SPREAD_SECONDS = 1800
"""By how much that is more or less, drawn each time; and the wait at most when a day begins: not all at midnight."""

AHEAD_RETRY_SECONDS = 600
"""The next try after no holder took a record, or only we."""

AHEAD_HOLDERS_MIN = 2
"""Holders, ourselves included, that are enough for six hours; with fewer the next try comes soon."""

AHEAD_LOOK_SECONDS = 30.0
"""Between two looks for what is due or over, and before the first: by then the DHT has been joined."""

AHEAD_PUBLISH_AT_ONCE = 4
"""Publications at once; a lookup and a put take half a second, so 100,000 fit six hours many times."""

AHEAD_PUBLISH_BATCH = 64
"""Records read from the disk at once to be published: 1.5 MB at most."""

AHEAD_EXPIRE_BATCH = 1024
"""Records deleted in one transaction when their day is over."""

DRAIN_SECONDS = 3.0
"""How long circuits may take to end when the service closes; within the 8 s bound of the process."""

SPARE_CONNECTIONS = 1000
"""Connections beyond those of slots and circuits: the DHT's, and clients that have asked for nothing yet."""

NETWORK_FILE_POLL_SECONDS = 0.25
"""Between two looks for a network file that a seed is about to make."""

REGISTER_RETRY_SECONDS = 1.0
"""First pause after a registration at a seed that failed; doubled up to the next."""

REGISTER_RETRY_MAX_SECONDS = 60.0
"""A seed that comes back has its relays again within this time."""

REGISTER_AGAIN_SECONDS = 300.0
"""Between two registrations; seeds keep them in memory, so one that restarted has us again after this."""


@dataclass(frozen=True, slots=True)
class AddressCaps:
    """How many entries one group of addresses may have: an IPv4 address, an IPv6 /56, an IPv6 /48."""

    ipv4: int
    ipv6_56: int
    ipv6_48: int


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The bounds that an operator may change; 0 for `circuit_seconds` or `circuit_bytes` means no limit there."""

    reservation_seconds: float = RESERVATION_SECONDS
    reservations: int = MAX_RESERVATIONS
    reservations_per_address: AddressCaps = AddressCaps(
        MAX_RESERVATIONS_PER_IPV4, MAX_RESERVATIONS_PER_IPV6_56, MAX_RESERVATIONS_PER_IPV6_48
    )
    circuits: int = MAX_CIRCUITS
    circuits_per_peer: int = MAX_CIRCUITS_PER_PEER
    circuits_per_pair: int = MAX_CIRCUITS_PER_PAIR
    circuits_per_address: AddressCaps = AddressCaps(
        MAX_CIRCUITS_PER_IPV4, MAX_CIRCUITS_PER_IPV6_56, MAX_CIRCUITS_PER_IPV6_48
    )
    circuit_seconds: int = CIRCUIT_SECONDS
    circuit_bytes: int = CIRCUIT_BYTES


@dataclass(frozen=True, slots=True)
class MailboxLimits:
    """The bounds of the mailboxes that an operator may change."""

    queues: int = MAILBOX_QUEUES
    queue_messages: int = MAILBOX_QUEUE_MESSAGES
    queue_bytes: int = MAILBOX_QUEUE_BYTES
    ttl_seconds: int = MAILBOX_TTL_SECONDS
    disk_bytes: int = MAILBOX_DISK_BYTES
    peer_rate: float = MAILBOX_PEER_RATE
    peer_burst: float = MAILBOX_PEER_BURST


@dataclass(frozen=True, slots=True)
class AheadLimits:
    """The bounds of the records signed ahead."""

    records: int = AHEAD_RECORDS
    disk_bytes: int = AHEAD_DISK_BYTES
