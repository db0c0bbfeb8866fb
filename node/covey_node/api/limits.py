"""Every bound of the local API, with its unit and its reason. Spec: docs/spec/api.md."""

CONNECTIONS_MAX = 64  # the command line, a web page and a few bots; each has a thread of its own at most
BODY_BYTES = 384 * 1024  # the longest text (48 KiB) with every byte escaped as six characters, and the rest of the JSON
BODY_SECONDS = 10  # a local client sends its request at once
WRITE_SECONDS = 10  # a client that takes nothing for so long is gone or hung; its connection is closed
KEEP_ALIVE_SECONDS = 60  # an idle connection of a bot
GRACE_SECONDS = 3  # answers under way at shutdown; the whole node has 8 s
SOCKET_SEND_BYTES = 128 * 1024  # kernel buffer of one client; the kernel's own default grows to 4 MiB
STREAM_BUFFER_BYTES = 1024 * 1024  # events of one slow client: about 1,000, or 15 of the longest texts
STREAM_BUFFER_EVENTS = 1024  # the same, counted
STREAM_HEARTBEAT_SECONDS = 15  # proxies and clients give up after 30 to 60 s of silence
WAIT_SECONDS_MAX = 300  # the longest a request may wait for a status; ask again for more
HISTORY_MAX = 1000  # messages of one page
TOKEN_BYTES = 32  # 256 random bits
TOKEN_FILE_BYTES = 1024  # 44 and whatever an editor added
LOCK_TRIES = 50  # a `covey` command holds the lock for microseconds when it looks whether the node runs
LOCK_PAUSE_SECONDS = 0.02  # between the tries: a second in all
