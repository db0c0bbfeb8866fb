"""Run outside: `stranger.py tcp|udp ADDRESS PORT` says a word there and prints what comes back, or why nothing did."""

import socket
import sys

protocol, address, port = sys.argv[1:]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as sock:
    sock.settimeout(3)
    try:
        sock.connect((address, int(port)))
        sock.send(b"hello")
        print(sock.recv(100).decode())  # noqa: T201
    except OSError as exc:
        print(type(exc).__name__)  # noqa: T201
