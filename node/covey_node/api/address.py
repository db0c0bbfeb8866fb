"""Where the local API listens: a loopback TCP address or a Unix socket.

Owns: reading the address, refusing what other machines could reach, binding. Spec: docs/spec/api.md, section 1.
Never touches: HTTP, the token.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from covey_core.errors import SettingsInvalid
from covey_node.api.limits import SOCKET_SEND_BYTES
from covey_node.home import API_SOCKET

BACKLOG = 64  # connections the kernel holds until we take them; CONNECTIONS_MAX is what we serve


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A loopback address; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the URL a client connects to."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a Unix socket."""

    path: Path

    def __str__(self) -> str:
        """Return the address as settings write it."""
        return f"unix:{self.path}"


def parse_address(text: str, *, home: Path) -> TcpAddress | UnixAddress:
    """Read `HOST:PORT` with a loopback host, `unix:/absolute/path`, or `unix` for <home>/api.sock.

    Raises `SettingsInvalid` for anything else, addresses that other machines could reach above all.
    """
    if text == "unix":
        return UnixAddress(home / API_SOCKET)
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise SettingsInvalid(f"API address {text!r}: the path of a Unix socket is absolute: unix:/path/api.sock")
        return UnixAddress(path)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - TCP's highest port
        raise SettingsInvalid(f"API address {text!r}: write HOST:PORT, such as 127.0.0.1:0, or unix:/path/api.sock")
    host = host.removeprefix("[").removesuffix("]")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsInvalid(
            f"API address {text!r}: the API listens on this machine only; use 127.0.0.1, [::1] or unix:/path/api.sock"
            " (from elsewhere: an SSH tunnel)"
        )
    return TcpAddress(host, int(port))


def bind(address: TcpAddress | UnixAddress) -> tuple[socket.socket, TcpAddress | UnixAddress]:
    """Bind and listen; return the non-blocking socket and the address really bound.

    A Unix socket has mode 0600 from its first moment. Raises `SettingsInvalid` when the address is taken or unusable.
    """
    listener = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BYTES)  # accepted sockets inherit it
        if isinstance(address, UnixAddress):
            _bind_unix(listener, address.path)
            bound: TcpAddress | UnixAddress = address
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((address.host, address.port))
            bound = TcpAddress(address.host, listener.getsockname()[1])
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as exc:
        listener.close()
        raise SettingsInvalid(f"cannot serve the API on {address}: {exc.strerror or exc}") from exc
    except SettingsInvalid:
        listener.close()
        raise
    return listener, bound


def unbind(address: TcpAddress | UnixAddress) -> None:
    """Remove the file of a Unix socket."""
    if isinstance(address, UnixAddress):
        with contextlib.suppress(OSError):
            address.path.unlink()


def _family(address: TcpAddress | UnixAddress) -> socket.AddressFamily:
    if isinstance(address, UnixAddress):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _bind_unix(listener: socket.socket, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SettingsInvalid(f"cannot serve the API on {path}: there is a file that is not a socket")
        if _answers(path):
            raise SettingsInvalid(f"cannot serve the API on {path}: another program listens there")
        path.unlink()
    mask = os.umask(0o177)  # the mode counts from the first moment; chmod afterwards would leave a gap
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) not in {errno.ECONNREFUSED, errno.ENOENT}
