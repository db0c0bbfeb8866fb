"""The network file: the network as JSON, shared by servers that live on one volume.

Owns: reading, atomic writing, and changes under a lock. Spec: docs/spec/network.md, "File". Never touches: what a
network can be (covey_core.network.value).
"""

import base64
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from covey_core import limits
from covey_core.errors import CoveyError, FileDamaged, ProtocolViolation
from covey_core.files import atomic_write, read_bounded, read_private, unusable
from covey_core.network.scope import Scope
from covey_core.network.value import Network, RelayEntry

_FORMAT: Final = "covey-network-1"


def load_network(path: Path) -> Network:
    """Return the network in `path`.

    Raises `FileDamaged` when it holds none, and `FileUnusable` when it is missing, cannot be read, or holds a key and
    others than its owner have rights on it.
    """
    text = read_bounded(path, limit_bytes=limits.NETWORK_FILE_BYTES)
    try:
        network = _from_json(json.loads(text))
    except ProtocolViolation as exc:
        raise _damaged(path, str(exc)) from exc
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        raise _damaged(path, "this is no complete network file") from exc
    if network.key is not None:
        read_private(path, limit_bytes=limits.NETWORK_FILE_BYTES)
    return network


def save_network(path: Path, network: Network) -> None:
    """Write `network` to `path`, atomically and durably, mode 0600; `FileUnusable` when that cannot be done."""
    atomic_write(path, json.dumps(_to_json(network), indent=2, ensure_ascii=False).encode() + b"\n")


def update_network(path: Path, change: Callable[[Network | None], Network]) -> Network:
    """Replace the network in `path` by `change(the present one, or None)` and return it, under a lock.

    Processes that call this at once come one after another, so none undoes another's change; the wait has no bound
    but what `change` takes. Nothing is written when nothing changed. Errors as in `load_network` and `save_network`.
    """
    with _locked(path):
        present = load_network(path) if path.exists() else None
        wanted = change(present)
        if wanted != present:
            save_network(path, wanted)
        return wanted


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The lock is on a file of its own: the network file itself is replaced by every write.
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise unusable(path, exc) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as exc:
        raise unusable(path, exc) from exc
    finally:
        os.close(descriptor)  # frees the lock


def _to_json(network: Network) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "name": network.name,
        "id": network.id.hex(),
        "subnets": list(network.scope.subnets),
        "key": _encoded(network.key),
        "previous_key": _encoded(network.previous_key),
        "bootstraps": list(network.bootstraps),
        "relays": [{"operator": relay.operator, "addrs": list(relay.addrs)} for relay in network.relays],
    }


def _from_json(found: Any) -> Network:
    if found["format"] != _FORMAT:
        raise ProtocolViolation("this is no network file of a version that is known here")
    return Network(
        name=_text(found["name"]),
        id=bytes.fromhex(found["id"]),
        scope=Scope(_texts(found["subnets"])),
        key=_decoded(found["key"]),
        previous_key=_decoded(found["previous_key"]),
        bootstraps=_texts(found["bootstraps"]),
        relays=tuple(
            RelayEntry(operator=_text(relay["operator"]), addrs=_texts(relay["addrs"])) for relay in found["relays"]
        ),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError
    return tuple(_text(value) for value in values)


def _encoded(key: bytes | None) -> str | None:
    return None if key is None else base64.b64encode(key).decode()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _damaged(path: Path, problem: str) -> CoveyError:
    return FileDamaged(str(path), problem, "Put back a copy of it, or move it away and make it again from a link.")
