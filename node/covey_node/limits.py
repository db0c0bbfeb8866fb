"""The bounds of the node, with their units and their sources.

Owns: constants only. Every bound that a peer or a user can run into, with its unit and its
reason; bounds that all components share are in covey_core.limits.
Never touches: code.
"""

# --- store (docs/spec/store.md) ---
STORE_QUEUE_CALLS = 1024  # functions waiting for the database, about 0.3 s of work; the next caller waits
STORE_BATCH_CALLS = 256  # functions in one COMMIT; over 64 the fsync costs little beside the work
STORE_WAL_BYTES = 8 * 1024 * 1024  # the write-ahead log is cut back to this size at a checkpoint
STORE_LOCK_WAIT_SECONDS = 5.0  # for a backup tool's connection; Covey itself holds one connection
STORE_VACUUM_PAGES = 2048  # 4 KiB pages given back to the file system in one housekeeping transaction
KEY_FILE_BYTES = 16 * 1024  # key.json has about 500 bytes
SECRET_FILE_BYTES = 4 * 1024  # a secret file holds a key of 32 bytes or a line of text
ALIAS_CHARS = 64  # fits a line of a terminal
SESSIONS_PER_DEVICE = 5  # two that were begun at the same moment, and some after lost answers (Sesame leaves it open)
RECEIVED_PER_DEVICE = 20_000  # hashes of taken packets, to acknowledge a repeated one without opening it
RECEIVED_SECONDS = 45 * 24 * 3600  # longer than a packet lives in the sender's outbox
HISTORY_PAGE_MESSAGES = 500  # most messages of one page of history
OUTBOX_PER_DEVICE = 10_000  # undelivered packets to one device; the next send is refused with the reason
ACCEPTANCE_LOOK_BACK = 64  # newest deliveries among which an acceptance that waits for a device is looked for
EXPIRE_DELIVERIES = 256  # deliveries ended for their age in one transaction
BACKOFF_FIRST_SECONDS = 2.0  # longest wait after the first failed attempt
BACKOFF_MAX_SECONDS = 300.0  # longest wait after many; a peer that appears wakes its packets at once
BACKOFF_FACTOR = 2.0  # growth of the longest wait with each failed attempt

# --- contents (docs/spec/contents.md) ---
MESSAGE_ID_BYTES = 16  # 128 random bits: no collision in anybody's lifetime
ACCOUNT_KEY_BYTES = 32  # an Ed25519 public key, RFC 8032
RECORD_KEY_BYTES = 32  # an Ed25519 public key, and a secret of the same strength
INVITE_TOKEN_BYTES = 16  # 128 random bits, one use
TEXT_BYTES = 48 * 1024  # a text with its envelope fits the largest padding bucket of 64 KiB
EMOJI_BYTES = 64  # the longest emoji sequences of Unicode are about 40 bytes
NAME_BYTES = 128  # a display name of 32 characters of four bytes each
INTRO_BYTES = 1024  # what a stranger may write before being accepted
ADDR_BYTES = 512  # a circuit address with two PeerIds and a DNS name is about 250 characters
ADDRS_MAX = 16  # two relays on three transports and two IP versions, and the direct ones
MAILBOX_REPLICAS_MAX = 8  # queues of one set; we make 3, others may want more copies
MAILBOX_ADDRS_MAX = 4  # of one relay in a set: two transports on two IP versions; the network file knows the others
MAILBOX_ADDR_BYTES = 256  # a name of 128 characters, transport and PeerId; three replicas fit the smallest bucket
MAILBOX_SET_NUMBER_MAX = 2**63 - 1  # the largest integer of SQLite; ours begin at 1
RECEIPT_IDS_MAX = 128  # receipts are gathered; 128 ids of 16 bytes leave the smallest bucket's room to spare
CONTENT_BYTES = 56 * 1024  # the largest content: a text, its ids and protobuf's overhead
DISAPPEAR_SECONDS_MAX = 365 * 24 * 3600  # a year, as long as anybody would call it disappearing
TIMESTAMP_MS_MAX = 253_402_300_799_999  # the last millisecond of the year 9999

# --- chat and contact streams (docs/spec/chat.md) ---
PACKET_BYTES = 64 * 1024  # the largest padding bucket
CHAT_FRAME_BYTES = PACKET_BYTES + 64  # a packet and its protobuf frame
BUNDLE_BYTES = 16 * 1024  # device list of 8 devices, signatures and two ML-KEM-768 keys are below 8 KiB
CONTACT_FRAME_BYTES = BUNDLE_BYTES + 64  # a bundle and its protobuf frame
UNACKED_PACKETS_MAX = 64  # packets on their way on one stream; more would only wait in the peer's queue
CHAT_STREAMS_PER_PEER_MAX = 4  # one is in use; the others belong to paths that are just dying
ACK_SECONDS = 30  # after that the peer is taken for dead and the packet goes over a new stream
OPEN_CHAT_SECONDS = 20  # dialling, negotiating and opening one stream, over two relays in turn
MOVE_STREAM_SECONDS = 2  # opening a stream on a better path; the old one works on, and then it is tried again
CHAT_IDLE_SECONDS = 300  # a stream that carried nothing for so long is closed; opening one costs 2 ms
BUNDLE_REQUESTS_PER_PEER_PER_MINUTE = 6  # key bundles cost a stranger nothing and us a KEM key pair each
BUNDLE_REQUESTS_PER_MINUTE = 240  # of all peers; each costs about 2 ms and one commit
FIRST_CONTACTS_PER_PEER_PER_MINUTE = 12  # of devices that are no contact's; opening one costs about 1 ms
FIRST_CONTACTS_PER_MINUTE = 240  # of all strangers together
INCOMING_QUEUE_BYTES = 32 * 1024 * 1024  # packets that were read and are not yet worked on, of all peers
STRANGERS_KEPT = 4096  # peers whose last questions are remembered; 200 bytes each
INCOMING_REQUESTS_MAX = 200  # undecided requests of strangers; further ones are told to come back later

# --- own mailboxes (docs/spec/delivery.md, docs/spec/mailbox.md) ---
MAILBOX_REPLICAS = 3  # queues of one set of ours, as many as relays are known (DESIGN 5)
MAILBOX_GONE_SECONDS = 24 * 3600  # a relay that was away for so long is replaced (DESIGN 5)
MAILBOX_QUIET_SECONDS = 600  # a relay that was silent is tried again after so long where another one is silent too
MAILBOX_AWAY_STEP_SECONDS = 600  # of one look that found it away: twice the pause between looks; sleep does not count
MAILBOX_LOST_SECONDS = 24 * 3600  # a relay that lost a queue of ours is chosen last for so long
MAILBOX_LOST_PAUSE_SECONDS_MIN = 2  # no queue where one was lost twice (a first loss is an old disk's); it doubles
MAILBOX_LOST_PAUSE_SECONDS_MAX = 3600  # longest: a relay that forgets everything costs 24 calls and sets a day
MAILBOX_NUMBER_SECONDS = 60  # a set gets one new number in so long: each is a content to every device of the contact
MAILBOX_NUMBERS_AT_ONCE = 3  # beside that, after quiet: the first ones, relays that become known, a user's move
MAILBOX_SETTLE_SECONDS = 2  # a quorum waits so long for the last queue, so that contacts are told once
MAILBOX_FEW_SECONDS = 60  # fewer queues than a quorum are told after so long: one mailbox is better than none
MAILBOX_PLAN_SETS = 64  # sets looked at in one transaction, about 10 ms
MAILBOX_PLAN_SECONDS = 300  # at the latest then it is looked whether queues are as they ought to be, and relays known
MAILBOX_PLAN_PAUSE_SECONDS = 0.2  # between two such looks: commits come in bursts
MAILBOX_LEAVING_MAX = 4  # queues of one set that left it and are still read; with more, the oldest go
MAILBOX_EMPTY_SECONDS = 5  # a queue that left its set: between two looks whether it is empty and nobody writes to it
MAILBOX_GIVEN_UP_SECONDS = 100 * 24 * 3600  # relays delete queues that nobody asked for in 90 days
MAILBOX_CALLS_AT_ONCE = 16  # queues made or deleted at one relay at a time; an answer takes some milliseconds
MAILBOX_ACK_GATHER_SECONDS = 0.2  # acknowledgements of three replicas' copies of one packet become one a relay
MAILBOX_ACKS_WAITING = 8192  # acknowledgements that wait for one relay, 100 bytes each; then it is read no further
MAILBOX_RELAY_RETRY_SECONDS_MIN = 2  # first pause after a relay's mailboxes did not answer (half of it to all)
MAILBOX_RELAY_RETRY_SECONDS_MAX = 300  # longest; a change of our network ends it
MAILBOX_REACHED_SECONDS = 3600  # that a relay answered is written down so often
MAILBOX_PROBE_SECONDS = 240  # a relay that is only listened to is asked something after half of it to all (jitter)
MAILBOX_ONLINE_SECONDS = 600  # a relay answered within so long: we are online, and another that is silent is away
MAILBOX_BUSY_SECONDS = 60  # a relay that is busy and does not say for how long is asked again after so long
RECEIPT_SECONDS_MIN = 1  # receipts for what came by a mailbox are gathered for at least so long
RECEIPT_SECONDS_MAX = 5  # and at most so long, drawn anew for each batch: relays cannot match what came with what goes
RECEIPT_DEVICES = 64  # devices answered in one transaction
RECEIPT_AGAIN_SECONDS = 600  # a packet that a mailbox brings again is answered again after so long; three bring each

# --- delivery (docs/spec/delivery.md) ---
LANES_MAX = 64  # devices that are written to at the same time; the others wait their turn
MESSAGE_LIFETIME_SECONDS = 30 * 24 * 3600  # an undelivered message expires after 30 days, the longest mailbox TTL
LANE_PAGE = 256  # deliveries that a lane holds in memory at a time, 100 bytes each
DEPOSIT_AFTER_SECONDS = 20  # a dead path is left within 12 s; later than that a packet is laid into mailboxes too
DEPOSIT_TTL_SECONDS = 21 * 24 * 3600  # asked of a mailbox, as operators give it (DESIGN 5); then laid down again
DEPOSIT_CHECK_SECONDS = 3600  # each mailbox is asked so often what lies there (between 0.75 and 1.25 of it)
DEPOSITS_UNDER_WAY = 32  # packets on their way to one mailbox; the client writes them in one go
DEPOSITS_UNDER_WAY_A_CONTACT = 16  # to all mailboxes of a contact, shared by those of a device: silent ones stop these
DEPOSITS_UNDER_WAY_IN_ALL = 128  # to all mailboxes together: 8 MiB of the largest packets, sealed and not
DEPOSIT_PAGE = 256  # deliveries that are held in memory of one mailbox, 200 bytes each
DEPOSIT_LANES_MAX = 256  # devices whose mailboxes are written to at the same time; the others wait their turn
DEPOSIT_LINGER_SECONDS = 15  # a device whose mailboxes have nothing to do for so long gives its room to others
DEPOSIT_PAUSES_MAX = 4096  # relays, and queues, whose failures are remembered, 200 bytes each; contacts name them
DEPOSIT_REFUSED_SECONDS_MIN = 60  # first pause after a mailbox was full or gone; only its owner can change that
DEPOSIT_PAUSE_SECONDS_MAX = 3600  # longest, also where a relay asks for more: tried again every hour
DEPOSIT_TOLD_MESSAGES = 256  # messages, the newest, whose watchers hear that a mailbox takes nothing any more
SENT_GRACE_SECONDS = 0.25  # `sent` is written down only for packets that are not acknowledged by then
TASK_AGAIN_SECONDS = 1  # first pause of a task after an error that nobody foresaw (between half of it and all)
TASK_AGAIN_SECONDS_MAX = 60  # longest; a task that ran so long is not held to be failing again and again
STORE_RETRY_SECONDS = 5  # after the database failed: what reads it for delivery tries again
SWEEP_SECONDS = 3600  # at the latest then it is looked for expired and disappearing messages again
EVENTS_KEPT = 1024  # events that a reconnecting client can catch up with
EVENT_BACKLOG = 256  # events one slow client may be behind before it is cut off

# --- paths (docs/spec/paths.md) ---
PATH_FIRST_PROBE_SECONDS = 1  # a packet without an answer for so long: the path is asked; most answers take 0.3 s
PATH_PROBE_SECONDS = 5  # between two probes of a path while packets are under way on it (DESIGN 3)
PATH_PROBE_IDLE_SECONDS = 60  # between two signs of life otherwise; 1,440 probes of 200 bytes a day (DESIGN 3)
PATH_FIRST_MISS_SECONDS = 3  # a probe without an answer for so long is a miss: round trips over two relays take 1 s
PATH_SECOND_MISS_SECONDS = 2  # then the second; 1 + 5 + 3 + 2 = 11 s from the first packet, 1 s of 12 is left
PATH_PUNISHED_SECONDS_MIN = 10  # a kind of path that failed is taken up again in place of another after so long
PATH_PUNISHED_SECONDS_MAX = 600  # and after many failures after so long: it doubles with each
PATH_FORGIVEN_SECONDS = 600  # in use for so long without failing: its failures are forgotten
PATH_KINDS_REMEMBERED = 32  # kinds of paths of one device whose failures are remembered; there are about eight
PATH_TABLES_MAX = 512  # devices of contacts whose paths are looked after, 1 KiB each
CIRCUIT_RENEW_SHARE = 0.8  # of a circuit's time or bytes: then the next is opened, with 24 min or 51 MiB to spare
CIRCUIT_RENEW_RETRY_SECONDS = 60  # a new circuit could not be had: tried again so often
RENEW_RELAYS_TRIED = 3  # relays that are asked for the new circuit: that of the old one, then others of the network
CIRCUIT_LIMITS_REMEMBERED = 512  # device and relay, with what the relay allows a circuit; as many as tables of paths
PUNCH_AGAIN_SECONDS_MIN = 30  # first wait after a punch that failed (jittered: between half of it and all)
PUNCH_AGAIN_SECONDS_MAX = 1800  # longest; NATs change with networks, and a change of ours is noticed at once
PUNCH_LASTED_SECONDS = 30  # a direct path that stood for so long is punched anew at once when it dies
PUNCH_SETTLE_SECONDS = 2  # after a change of network: relays come first, the punch needs them

# --- hole punching (docs/spec/dcutr.md) ---
PUNCH_ATTEMPTS = 3  # libp2p specs, DCUtR: "SHOULD retry twice (thus a total of 3 attempts)"
PUNCH_ADDRS_MAX = 8  # addresses that we tell, and that we try: three transports' worth on two lines and two families
PUNCH_IPS_MAX = 4  # machines that one peer can have us write to: two lines, and two IPv6 addresses
PUNCH_PORTS_PER_IP_MAX = 2  # ports of one IP and transport: what two relays saw; a guess at more would be a port scan
PUNCH_PORT_MIN = 1024  # NATs map the ports of users above it (RFC 4787, REQ-3); below it are other people's services
PUNCH_OBSERVED_PER_IP_MAX = 2  # our own mappings on one IP and transport: a NAT that shows more of them is symmetric
PUNCH_ANSWER_SECONDS = 5  # for a CONNECT, its answer and a SYNC; js-libp2p gives 5 s to all of it, rust-libp2p 10 s
PUNCH_WINDOW_SECONDS = 2.5  # one attempt, without round trips: successes take 0.1 to 0.4 s; one lost SYN costs 1 s
PUNCH_WINDOW_RTTS = 6  # round trips of TCP, Noise, Yamux and admission on top, for far peers
PUNCH_WINDOW_SECONDS_MAX = 5  # whatever the round trip; also how long the side that did not start goes on
PUNCH_NEXT_SECONDS = 5  # the side that did not start waits so long for the next CONNECT on the same stream
PUNCH_IDENTIFY_SECONDS = 1  # for what the peer says of itself; it takes one round trip over the relay
PUNCH_DIRECT_SECONDS = 1  # a plain dial to a peer with public addresses; five round trips of 200 ms
PUNCHES_MAX = 16  # with all peers at once; each writes to 8 addresses at most
PUNCH_FAILURES_PER_PEER_PER_MINUTE = 12  # attempts that came to nothing, before one peer must wait
PUNCH_FAILURES_PER_MINUTE = 120  # of all peers together: about 700 packets a second at the very most
PUNCH_PEERS_KEPT = 256  # peers whose last punches the doctor can tell of
PUNCHES_KEPT_PER_PEER = 8  # outcomes of one peer, 1 KiB each

# --- invites (docs/spec/invite.md) ---
INVITE_SECONDS_DEFAULT = 7 * 24 * 3600  # a week to find the message with the link
INVITE_SECONDS_MAX = 365 * 24 * 3600  # nobody remembers older links
INVITE_LINK_BYTES = 8 * 1024  # with a network of a dozen relays
INVITE_BYTES = 32 * 1024  # what a link inflates to: network 12 KiB, addresses 8, contact queues 8; a bomb holds more
INVITES_MAX = 1000  # open invites of one account

# --- first contact while the other side is away (docs/spec/first-contact.md) ---
WORK_STEP_TRIES = 40_000  # answers tried between two looks whether the search is still wanted: about 20 ms
WORK_TRIES_FACTOR = 30  # times 2**bits: chance needs more once in e**30 times
CONTACT_SHARE_PAIRS = 200  # private halves kept of one relay's share: twice what a relay holds (100)
MAILBOX_KEYS_MAX = 100  # pairs that a relay holds for a queue (docs/spec/mailbox.md)
CONTACT_PAIR_SECONDS = 52 * 24 * 3600  # one-time pairs go after so long (docs/spec/e2ee.md, 5.4)
CONTACT_STOCK_PAIRS = 20  # pairs offered at a time; so many at least are to lie at each relay
CONTACT_STOCK_SECONDS = 24 * 3600  # pairs are offered so often, whatever we know of what is left
CONTACT_BUNDLE_SECONDS = 7 * 24 * 3600  # a stocked bundle is replaced after so long, as prekeys are
CONTACT_WORK_BITS = 18  # what an open contact queue asks at least: an eighth of a second; the relay asks for more
CONTACT_PAGE_MESSAGES = 15  # messages fetched at a time of those left lying: what one answer holds of middle ones
CONTACT_SETTLE_SECONDS = 0.2  # several invites made at once change the admission once
CONTACT_RETRY_SECONDS_MIN = 5  # first pause after a relay of a contact queue did not answer
CONTACT_RETRY_SECONDS_MAX = 600  # longest
CONTACT_LEFT_SECONDS = 60  # what was left lying for a bound of a minute is fetched again after so long
INVITE_WAIT_SECONDS = 5  # a new link waits so long for contact queues that are just being made, or for its admission
INVITE_MORE_SECONDS = 1  # and so long for the others once one stands: a relay that is down should not cost five
CONTACT_DONE_REMEMBERED = 1024  # hashes of opened requests: each replica brings one of its own
PROFILE_STEPS_MIN = 2  # of RECORD_STEP_BYTES: a public profile is no smaller than most contact records
PROFILE_HIDING_SECONDS = 3 * 24 * 3600  # so long it is told that a profile is hidden: holders keep one for two days
PROFILE_AHEAD_RELAYS = 2  # where a public profile lies for the days to come
PROFILE_AHEAD_DAYS = 30  # so many of them, as contact records
PROFILE_FIND_SECONDS = 20  # looking a public profile up: joining the DHT, and three days' keys at once
REQUEST_HEAD_START_SECONDS = 2  # the direct way to somebody who may be there, before keys are taken from a relay
REQUEST_MAILBOXES_SECONDS = 10  # a request waits so long for mailboxes of our own to be told in it
REQUEST_LOOK_SECONDS = 0.5  # between two looks whether they stand
REQUEST_RETRY_SECONDS_MIN = 15  # first pause after no relay of the other side took our request
REQUEST_RETRY_SECONDS_MAX = 3600  # longest: an invite that is no longer admitted is asked for every hour
REQUESTS_AT_ONCE = 4  # requests of ours that are being laid down; each may be working on a proof
REQUEST_TTL_SECONDS = 21 * 24 * 3600  # what a relay is asked to keep a request for (DESIGN 5)

CALL_SECONDS = 900  # who has our request hears from us so often; it costs both one connection
CALLS_MAX = 32  # devices that are called at one time, those seen last first
CALL_BACK_SECONDS = 2.0  # after the last connection ended, up to twice that: who restarts is back by then
CALL_BACK_PAUSE_SECONDS = 30.0  # between two calls back of one device: a line that breaks at once is not dialed forever

# --- relay client (docs/spec/circuit.md) ---
RESERVATIONS_WANTED = 2  # DESIGN 3: two relays of different operators
RESERVATION_SECONDS_MAX = 24 * 3600  # what is believed of a slot's lifetime; relays give an hour
RESERVATION_REFRESH_SHARE = 0.75  # of the reservation's lifetime, so that one failed try does not lose it
RELAY_RETRY_SECONDS_MIN = 1  # first pause after a relay was lost
RELAY_RETRY_SECONDS_MAX = 120  # longest pause between tries
RELAY_PING_SECONDS = 15  # between two questions whether a relay lives; also keeps UDP mappings of 30 s open
RELAY_PING_ANSWER_SECONDS = 4  # without an answer for so long, twice, its connection is closed: 23 s in all
RELAY_DOUBT_ANSWER_SECONDS = 2  # the same when our network changed: most connections are dead then
RELAY_PING_AGAIN_SECONDS = 1  # after a ping that failed without waiting
RELAY_BESIDE_LOOKS = 3  # looks, a second apart, whether the relay names an address of the other transport
RELAY_BESIDE_SECONDS_MIN = 30  # first wait after the second transport to a relay did not come up
RELAY_BESIDE_SECONDS_MAX = 1800  # longest: where UDP is blocked it stays so until the network changes
CIRCUIT_ADDRS_PER_RELAY = 3  # circuit addresses announced for one relay: TCP, WebSocket, QUIC; the record holds 16
CIRCUIT_HANDSHAKE_SECONDS = 10  # hop, stop, Noise and Yamux over a slow relay

NEXT_RELAY_SECONDS = 1  # a relay that says nothing for so long is joined by the next; a circuit takes 0.3 s
RELAY_DOUBT_SECONDS = 60  # a relay through which a path died silently is asked last for so long
DIRECT_HEAD_START_SECONDS = 0.25  # direct addresses are alone so long; a circuit that wins is upgraded. RFC 8305, 5

# --- contact records (docs/spec/contact-record.md) ---
RECORD_PUBLISH_SECONDS = 6 * 3600  # DESIGN 6: storing nodes forget after 24 h
RECORD_RETRY_SECONDS = 30  # no holder took the record: try again
RECORD_SETTLE_SECONDS = 2  # addresses that change come in bursts (two relays, two listeners)
RECORD_LIFETIME_SECONDS = 48 * 3600  # a record is good for its day and for clocks that are off
RECORD_LOOKUP_SECONDS_MIN = 60  # a contact that cannot be reached is looked up at most once a minute
RECORD_HEAD_START_SECONDS = 5  # known addresses are alone so long: two silent relays take all of OPEN_CHAT_SECONDS
RECORD_SEQUENCE_MAX = 2**63 - 1  # the largest integer of SQLite; ours begin at the Unix time
RECORD_STEP_BYTES = 2048  # its plaintext is padded to steps of this: one device's has two or three
RECORD_PLAINTEXT_BYTES = 24 * 1024 - 40  # a record holds 24 KiB of ciphertext; nonce and tag take 40 bytes
PREKEY_ROTATE_SECONDS = 7 * 24 * 3600  # DESIGN 4: weekly
PREKEY_KEEP_SECONDS = 45 * 24 * 3600  # DESIGN 4: private halves go 45 days after their last publication

# --- records signed ahead (docs/spec/ahead.md) ---
AHEAD_RELAYS = 3  # relays where they lie: one may be down, one may lie (as for mailboxes, DESIGN 5)
AHEAD_ROUNDS = 4  # choices in one look, when relays fail: 12 relays are tried, the next ones an hour later
AHEAD_SEQUENCE_BITS = 29  # of the first sequence for a day, at random; a day's own seconds are over 2^30
AHEAD_STEP_BITS = 16  # of the steps after it: 20,000 replacements fit below the day's own seconds
AHEAD_START_SECONDS = 15  # after the start: by then relays have granted slots, and the circuits are known
AHEAD_LOOK_SECONDS = 3600  # between two looks for days that are missing somewhere
AHEAD_CHECK_SECONDS = 24 * 3600  # between two tries whether a relay still has what it took; one record
AHEAD_AGAIN_SECONDS = 600  # between two times that all days are left anew because circuits changed
AHEAD_PAUSE_SECONDS = 4.0  # longest wait between two records at one relay; a month takes a minute
AHEAD_REQUEST_SECONDS = 20  # dialing, admission, 6 KB and an answer that waits for the relay's disk
AHEAD_RETRY_SECONDS = 3600  # a relay that does not serve this, or is not there, is left alone so long
AHEAD_REFUSED_MAX = 8  # records that a relay calls old before it is left alone: the next has a higher sequence

# --- port mapping (docs/spec/portmap.md) ---
PORTMAP_LEASE_SECONDS = 3600  # an hour: what a node that was killed leaves open for longest
PORTMAP_LEASE_SECONDS_MAX = 24 * 3600  # routers may grant more than was asked; ours are renewed daily at least
PORTMAP_CHECK_SECONDS = 60  # a router that has restarted is noticed after so long; one packet each way
PORTMAP_ROUTE_SECONDS = 10  # the routing table is looked at so often for another gateway; reading it costs 0.1 ms
PORTMAP_PAUSE_SECONDS_MIN = 1  # between two renewals, whatever lease a router grants
PORTMAP_MISSES = 1  # checks without an answer that are forgiven: Wi-Fi loses packets
PORTMAP_AGAIN_SECONDS = 5  # first pause after a router that gave mappings stopped
PORTMAP_RETRY_SECONDS = 600  # first pause after no router answered; mostly none ever will
PORTMAP_RETRY_SECONDS_MAX = 3600  # longest pause between such tries
PORTMAP_RESEND_SECONDS = (0.25, 0.5, 1.0, 2.0)  # waits for an answer, RFC 6886 section 3.1, cut off at 3.75 s
PORTMAP_DISCOVER_MILLISECONDS = 1000  # wait for answers to one kind of UPnP question; routers take up to 0.5 s
PORTMAP_ANSWER_BYTES = 2048  # of one answer over UDP; honest ones have 400
PORTMAP_DESCRIPTIONS_MAX = 4  # different descriptions that are fetched from the gateway; most routers have one or two
PORTMAP_URL_CHARS = 512  # of a router's URL; honest ones have 50
PORTMAP_DISCOVER_SECONDS = 15.0  # the answers, then the router's descriptions
PORTMAP_CALL_SECONDS = 8.0  # one UPnP action and five other ports; miniupnpc gives a socket 3 s
PORTMAP_OTHER_PORTS = 5  # external ports that are tried when the wanted one is taken
PORTMAP_PORTS_MAX = 8  # ports that are mapped: TCP and UDP of four listeners
PORTMAP_SECRET_BYTES = 32  # of which PCP's nonces are made, as strong as SHA-256
PORTMAP_END_SECONDS = 2.0  # for ending mappings at the end; the process has 10 s in all

# --- neighbours on the local network (docs/spec/mdns.md) ---
MDNS_PACKET_BYTES = 9000  # RFC 6762 section 17; longer ones are cut off, and then damaged
MDNS_RECORDS_PER_PACKET = 32  # a peer with many addresses has 20
MDNS_SRV_PORT = 4001  # an SRV record has one; libp2p's peers read the TXT record only
MDNS_TEXT_BYTES = 1000  # addresses in one answer, so that it fits into one Ethernet frame
MDNS_TTL_SECONDS = 120  # RFC 6762 section 10; others forget us, and we them, after two minutes of silence
MDNS_PEERS_PER_PACKET = 4  # a peer speaks for itself; more than one in a packet is already unusual
MDNS_ADDRS_PER_PEER = 8  # addresses kept of one peer: two transports, two IP versions, and as much again
MDNS_PEERS_MAX = 256  # peers kept; only contacts' devices are
MDNS_INTERFACES_MAX = 16  # interfaces that are listened on; a machine with containers has several
MDNS_ASK_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # pauses between questions at the start, RFC 6762 section 5.2
MDNS_ASK_SECONDS_MAX = 60.0  # pause between questions later: half of the time after which we forget
MDNS_ANSWER_PAUSE_SECONDS = 1.0  # between two answers on an interface, RFC 6762 section 6
MDNS_ANSWER_JITTER_SECONDS = 0.12  # longest wait before an answer, so that not all answer at once; RFC 6762 section 6
MDNS_PACKETS_PER_SECOND = 50  # read on one interface, at most 1 ms each; further ones are dropped
MDNS_LOOK_SECONDS = 10  # interfaces are listed again so often; it costs 0.2 ms
MDNS_GOODBYE_SECONDS = 0.5  # for saying goodbye at the end
LAN_DIAL_SECONDS = 5  # a machine on the same network answers in milliseconds or is not there
LAN_RETRY_SECONDS = 5  # between tries to connect to one neighbour; a new address is tried at once
LAN_RETRY_DOUBLINGS = 4  # of that pause after failures: 80 s at most, about as long as its answer is believed
LAN_DIALS_MAX = 8  # neighbours that are dialled at the same time
LAN_FOUND_MAX = 64  # neighbours that wait to be dialled; further ones are heard again within a minute

# --- reachability (docs/spec/autonat.md) ---
NAT_OBSERVERS_MIN = 2  # relays with different IPs: fewer cannot tell one mapping for all from one for each
NAT_FLIP_SECONDS = 60.0  # another judgement must stand so long: a dead connection's old view is gone after 25 s
NAT_FORGET_SECONDS = 600.0  # without two observers the last judgement is kept so long; relays restart in less
NAT_SETTLE_SECONDS = 20.0  # a first judgement may be corrected at once so long: silence over QUIC shows after 5 s
REACH_ADDRS_MAX = 8  # addresses of ours that are tested: two families, two transports, observed and mapped
REACH_SERVERS = 2  # that must agree on an address; autonat-v2 suggests 4, which small networks do not have
REACH_TRIES_MAX = 5  # servers asked in one round: three that know, and two that have no time or no such transport
REACH_KNOWN_SECONDS = 30 * 60.0  # between two tests of an address of which something is known
REACH_UNKNOWN_SECONDS = 5 * 60.0  # the same while nothing is
REACH_REJECTED_SECONDS = 90.0  # a server that had no time for us is left alone so long; it counts over 60 s
REACH_ASKED_PER_MINUTE = 10  # questions to one server; servers of ours take 12
REACH_AT_ONCE = 3  # questions under way
REACH_SETTLE_SECONDS = 1.0  # relays come in bursts at the start, each with two connections
REACH_LOOK_SECONDS = 15.0  # our addresses are looked at again so often, besides at every connection
REACH_GONE_SECONDS = 120.0  # an address that nobody sees any more is kept so long: a relay may be restarting

# --- helping others (docs/spec/autonat.md, "Every public node helps") ---
HELP_START_SECONDS = 60.0  # public for so long before others may rely on it; a port that is open by chance closes again
HELP_STOP_SECONDS = 300.0  # not public for so long before it ends: each flap would cut everybody's circuits
HELP_LOOK_SECONDS = 5.0  # between two looks at whether this node is public
HELP_RESERVATIONS = 16  # peers with a slot here; a home line serves a family and friends
HELP_RESERVATIONS_PER_IP = 4  # of one address: one household, not all places
HELP_CIRCUITS = 8  # circuits at once, in all and for one peer
HELP_CIRCUITS_PER_PAIR = 2  # of one source to one target: one in use and its successor
HELP_CIRCUIT_SECONDS = 30 * 60  # long enough to punch or to talk; clients renew
HELP_CIRCUIT_BYTES = 64 * 1024 * 1024  # each direction: messages and pictures, no films
SPARE_LOOK_SECONDS = 30.0  # between two looks for contacts that help, while too few relays keep a slot for us
SPARE_ASK_SECONDS = 300.0  # before a contact that did not help is asked again
SPARES_MAX = 2  # contacts' nodes kept as relays at once, as many as relays are wanted
SPARE_ANSWER_SECONDS = 10.0  # hop's answer to a reservation; our own service allows 10 s as well

# --- calls at mailboxes (docs/spec/mailbox.md, "A client") ---
MAILBOX_UNANSWERED = 256  # requests of one stream without an answer; the relay reads no further
MAILBOX_WAITING = 1024  # calls to one relay that wait for their turn; further ones fail at once
MAILBOX_WRITE_BYTES = 64 * 1024  # requests are written together up to about this size
MAILBOX_CALL_SECONDS = 60  # one call, with connecting, waiting its turn and a second try
MAILBOX_CONNECT_SECONDS = 10  # dialing a relay at all its addresses
MAILBOX_HELLO_SECONDS = 5  # the relay's first frame; it has only to draw a number
MAILBOX_ANSWER_SECONDS = 20  # nothing answered for so long although something is asked: the stream ends
MAILBOX_AGAIN_SECONDS = 1  # after a dial that failed the next calls fail with it for so long: one dial for all of them
MAILBOX_BROKEN_SECONDS = 1  # a stream that fails to open this fast failed for its connection: another one is dialed
MAILBOX_IDLE_SECONDS = 90  # a stream without a call is closed after so long, before the relay does after 120 s
MAILBOX_LINKS = 512  # throw-away identities in use at once, 100 KB each with a connection; idle ones give way
MAILBOX_LINK_CONNECTIONS = 8  # of one such identity: one that is used, and others that are replaced by it
MAILBOX_IDENTITIES = 4096  # of this run that are remembered, 32 bytes each; one that was forgotten is replaced
MAILBOX_FORWARD_SECONDS = 15  # one try by way of another relay; it dials the mailbox's relay first
MAILBOX_FORWARDERS = 3  # other relays that are tried before the mailbox's relay is asked directly
MAILBOX_DOUBT_SECONDS = 30  # a relay that fell silent when it was to forward is not asked to for so long
MAILBOX_DOUBT_SECONDS_MIN = 5  # one that says that it cannot; relays themselves dial again after 5 s
MAILBOX_DIRECT_SECONDS = 20  # others brought something there within this time: a relay is not yet asked directly
MAILBOX_HELLOS = 64  # relays whose forward keys are remembered: as many as a network file names
MAILBOX_HELLO_LEFT_SECONDS = 600  # a forward key that ends sooner is asked for anew
MAILBOX_RENDEZVOUS_SECONDS = 3600  # between two looks for relays at the rendezvous points
MAILBOX_RENDEZVOUS_RETRY_SECONDS = 60  # the same when none of them answered
MAILBOX_FOUND = 64  # relays found that way that are kept; the network file names as many
MAILBOX_ABSENT_SECONDS = 3600  # a relay that does not speak the protocol is not named for so long

# --- the process ---
DRAIN_SECONDS = 2  # answers of the API that are under way at the end get so long; the process has 10 s in all
INTERFACES_LOOK_SECONDS = 5  # between two looks whether the interfaces have other addresses; one takes 1 ms
ADDRS_CHECK_SECONDS = 60  # our addresses are looked at again so often, besides at every change of a relay
TIDY_SECONDS = 24 * 3600  # prekeys are rotated weekly, so looking once a day is enough

# --- metrics (docs/operators.md) ---
PATH_COUNT_SECONDS = 30  # METRICS: a peer session counts at the path it has this long after its first path stood
PATH_COUNT_PEERS = 1024  # peers somebody tries to reach whose first try is remembered; 100 bytes each
LOOK_AROUND_SECONDS = 5  # between two looks at the NAT kind, mappings and slots for /metrics; all are in memory
OUTBOX_COUNT_SECONDS = 15  # the outbox is counted anew so often at most; Prometheus scrapes as often

# --- punch reports (docs/spec/report.md) ---
REPORT_DELAY_SECONDS_MIN = 600  # an outcome waits so long at least: by then the relay carried other circuits too
REPORT_DELAY_SECONDS_MAX = 3600  # and at most; drawn for each outcome, so that their order is lost as well
REPORT_PEERS_MIN = 3  # different peers in one report: with one of them, the relay would know whose outcome it is
REPORT_PAUSE_SECONDS = 1800  # between two reports, up to twice that: relays take 4 an hour
REPORTS_WAITING = 64  # outcomes that wait; one report holds as many
REPORT_KEEP_SECONDS = 24 * 3600  # an outcome for which no report came together in a day is dropped
REPORT_RETRY_SECONDS = 300  # without any slot at a relay: look again
REPORT_SECONDS = 10  # opening the stream, the report, the relay's end of it
