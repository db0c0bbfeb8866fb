"""What a process says while it runs.

Owns: the set-up of structlog, and the last net that keeps addresses and PeerIds out of logs. Lines are JSON for
machines or coloured text for people, on standard error. Never touches: what is logged.

Events are named component.thing.past_participle ("relay.slot.refused"), facts are keywords. Messages of libraries pass
only when they are errors, and without their text unless the level is debug: they are full of peers and addresses.
"""

import ipaddress
import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import structlog

from covey_core.errors import SettingsInvalid

LEVELS: Final = ("debug", "info", "warning", "error")

_PEER: Final = re.compile(r"\b(?:12D3KooW|16Uiu2HA|Qm)[1-9A-HJ-NP-Za-km-z]{20,}")
_NAMED: Final = re.compile(r"/(ip4|ip6|dns|dns4|dns6|dnsaddr)/[^/\s'\"]+")
_IP4: Final = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_IP6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_DEPTH: Final = 4

_Event = MutableMapping[str, Any]


def setup_logging(*, level: str = "info", json: bool = True, stream: TextIO | None = None) -> None:
    """Set up logging for this process, to `stream` (standard error); `SettingsInvalid` for an unknown level.

    `level` is one of debug, info, warning, error. Peers and addresses are blanked but at debug.
    """
    if level not in LEVELS:
        raise SettingsInvalid(f"the log level {level!r} is none of {', '.join(LEVELS)}")
    number = logging.getLevelNamesMapping()[level.upper()]
    verbose = level == "debug"
    out = stream or sys.stderr
    processors: list[Callable[[Any, str, _Event], Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        without_bytes,
    ]
    if json:
        # No local variables: they hold keys and plaintext.
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(transformer))
    else:
        processors.append(structlog.processors.format_exc_info)
    if not verbose:
        processors.append(without_identities)
    processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    if json:
        processors.append(structlog.processors.JSONRenderer(default=str))
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Writer(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Library(verbose=verbose)]
    root.setLevel(logging.INFO if verbose else logging.ERROR)
    logging.captureWarnings(capture=True)


def get_logger(name: str) -> Any:
    """Return the logger of one part; `name` stands in each line as `part`."""
    return structlog.get_logger(part=name)


def without_bytes(_logger: Any, _method: str, event: _Event) -> _Event:
    """Replace bytes by their number, at every level: they are keys, plaintext or packets. A structlog processor."""
    for key, value in event.items():
        if isinstance(value, bytes | bytearray | memoryview):
            event[key] = f"<{len(value)} bytes>"
    return event


def without_identities(_logger: Any, _method: str, event: _Event) -> _Event:
    """Blank PeerIds and IP addresses in all values of a log event: a structlog processor."""
    for key, value in event.items():
        event[key] = _blanked(value, _DEPTH)
    return event


def _blanked(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _blanked_text(value)
    if depth == 0 or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {key: _blanked(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_blanked(inner, depth - 1) for inner in value]
    return _blanked_text(str(value))


def _blanked_text(text: str) -> str:
    text = _PEER.sub("<peer>", text)
    text = _NAMED.sub(r"/\1/<addr>", text)
    text = _IP4.sub("<addr>", text)
    return _IP6.sub(lambda found: "<addr>" if _is_ip6(found.group()) else found.group(), text)


def _is_ip6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class _Writer:
    """Writes lines; a closed or full standard error must not end the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        try:
            self._stream.write(message + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            return

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg


class _Library(logging.Handler):
    """Turns records of the standard library's logging into events of ours."""

    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, object] = {"part": record.name.partition(".")[0], "line": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[0] is not None:
            facts["error"] = record.exc_info[0].__name__
        if self._verbose:
            facts["text"] = record.getMessage()
        log = structlog.get_logger()
        log.log(max(record.levelno, logging.DEBUG), "library.message.logged", **facts)
