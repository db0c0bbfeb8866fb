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
MAILBOX_AWAY_STEP_SECONDS = 600  # of one look that found it away: twice the pause between looks; sleep does not count
MAILBOX_LOST_SECONDS = 24 * 3600  # a relay that lost a queue of ours is chosen last for so long
MAILBOX_SETTLE_SECONDS = 2  # a quorum waits so long for the last queue, so that contacts are told once
MAILBOX_FEW_SECONDS = 60  # fewer queues than a quorum are told after so long: one mailbox is better than none
RECEIPT_SECONDS_MIN = 1  # receipts for what came by a mailbox are gathered for at least so long
RECEIPT_SECONDS_MAX = 5  # and at most so long, drawn anew for each batch: relays cannot match what came with what goes
RECEIPT_AGAIN_SECONDS = 600  # a packet that a mailbox brings again is answered again after so long; three bring each

# --- delivery (docs/spec/delivery.md) ---
LANES_MAX = 64  # devices that are written to at the same time; the others wait their turn
MESSAGE_LIFETIME_SECONDS = 30 * 24 * 3600  # an undelivered message expires after 30 days, the longest mailbox TTL
LANE_PAGE = 256  # deliveries that a lane holds in memory at a time, 100 bytes each
DEPOSIT_AFTER_SECONDS = 10  # a packet that a device has not acknowledged for so long is laid into its mailboxes too
DEPOSIT_TTL_SECONDS = 21 * 24 * 3600  # asked of a mailbox, as operators give it (DESIGN 5); then laid down again
