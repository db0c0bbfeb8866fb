"""Text on a terminal: what strangers wrote made harmless, columns, times and durations in words.

Owns: how values look. Never touches: where they come from, the terminal itself.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Cc: escape sequences. Cf: bidirectional overrides and invisible marks. Cs, Co, Cn: no characters. Zl, Zp: line breaks.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # Cf, but Persian words and emoji need them
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw]?)")


def harmless(text: str, *, breaks: bool = False) -> str:
    r"""Return text that cannot steer a terminal: control and invisible characters are shown as \x1b, \u202e.

    With `breaks`, line breaks stay (the caller indents them); tabs become a space.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_harmless(char, breaks=breaks) for char in text)


def _harmless(char: str, *, breaks: bool) -> str:
    if (char == "\n" and breaks) or char in _JOINERS:
        return char
    if char in "\t\n":
        return " "
    if unicodedata.category(char) in _HARMFUL:
        return char.encode("unicode_escape").decode("ascii")
    return char


def width(text: str) -> int:
    """Return the columns a terminal needs: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) or char in _JOINERS else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines; cells are made harmless, the last column is not padded."""
    cells = [list(head), *([harmless(cell) for cell in row] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def indented(text: str, by: int) -> str:
    """Return text whose second and later lines start below the first, so that no text can pass for the next entry."""
    return harmless(text, breaks=True).replace("\n", "\n" + " " * by)


def ago(then: float | None, now: float) -> str:
    """Return `now`, `5 min ago`, `in 3 h`, or `never`."""
    if then is None:
        return "never"
    span = abs(now - then)
    if span < 5:  # noqa: PLR2004 - nobody counts such seconds
        return "now"
    return f"in {duration(span)}" if then > now else f"{duration(span)} ago"


def duration(seconds: float) -> str:
    """Return the largest fitting unit: `12 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    if seconds < 3600:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def way(path: Mapping[str, Any]) -> str:
    """Return what carries a path: `quic`, or `tcp, relay home`."""
    parts = [path["transport"] or "", f"relay {path['relay']}" if path["relay"] else ""]
    return ", ".join(part for part in parts if part)


def reservation(relay: Mapping[str, Any], now: float) -> str:
    """Return how we stand with a relay: connected, the end of our slot, why not."""
    words = "connected" if relay["connected"] else "not connected"
    if relay["reserved_until"] is not None:
        words += f", reserved, renewed before {clock(relay['reserved_until'], now)}"
    return words + (f" ({relay['reason']})" if relay["reason"] else "")


def clock(then: float, now: float) -> str:
    """Return the local time of day, with the date when that is not today's."""
    moment, today = time.localtime(then), time.localtime(now)
    if moment[:3] == today[:3]:
        return time.strftime("%H:%M", moment)
    return time.strftime("%Y-%m-%d %H:%M", moment)


def seconds_of(text: str) -> float:
    """Read `30s`, `10m`, `1h`, `7d`, `2w` or plain seconds; raise `ValueError` with what is right."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or (value := float(match[1]) * _UNITS[match[2] or "s"]) <= 0:
        raise ValueError(f"{text!r} is not a duration; write 30s, 10m, 1h, 7d or 2w")
    return value


def groups(number: str, *, size: int = 5, per_line: int = 4) -> list[str]:
    """Return a safety number as lines of groups: 12 groups of 5 digits, four a line."""
    parts = [number[start : start + size] for start in range(0, len(number), size)]
    return [" ".join(parts[start : start + per_line]) for start in range(0, len(parts), per_line)]
