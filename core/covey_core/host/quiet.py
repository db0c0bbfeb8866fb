"""Keeps the log lines of py-libp2p and aioquic, which carry PeerIds and addresses, out of Covey's logs.

Owns: the level of the "libp2p" and "quic" loggers and their relatives. Never touches: Covey's own logging.
"""

import logging
import os
from typing import Final

import libp2p.network.connection.swarm_connection as upstream_connection

_NOISY: Final = ("libp2p", "trio-websocket", "multiaddr", "quic")
_DEBUG_VARIABLE: Final = "LIBP2P_DEBUG"


def silence_libp2p() -> None:
    """Switch off libp2p's loggers, unless its own LIBP2P_DEBUG asks for them.

    swarm_connection.py logs through the root logger (and so installs a stderr handler): it is given a logger of its
    own below "libp2p".
    """
    upstream_connection.logging = logging.getLogger("libp2p.network.connection")  # type: ignore[assignment,attr-defined]
    if os.environ.get(_DEBUG_VARIABLE):
        return
    for name in _NOISY:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
