"""Where a command's results go: lines for people, or JSON for programs.

Owns: stdout and stderr. Never touches: the node.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covey_node.cli.exits import CliError
from covey_node.cli.text import harmless

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


@dataclass(frozen=True, slots=True)
class Output:
    """How this run prints: `--json` or not, colours or not."""

    as_json: bool
    colours: bool

    @classmethod
    def of(cls, *, as_json: bool) -> Output:
        """Colours only on a terminal, and never against NO_COLOR (no-color.org)."""
        wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(as_json=as_json, colours=wanted and not as_json)

    def show(self, value: object, lines: Iterable[str]) -> None:
        """Print the value as one line of JSON, or the lines."""
        if self.as_json:
            print(json.dumps(value))
        else:
            for line in lines:
                print(line)
        sys.stdout.flush()

    def style(self, text: str, style: str) -> str:
        """Return the text in a colour, where colours are wanted."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colours else text

    def fail(self, error: CliError) -> None:
        """Print an error: one line on stderr."""
        if self.as_json:
            print(json.dumps({"error": {"code": error.code, "message": str(error)}}), file=sys.stderr)
        else:
            print(f"covey: {harmless(str(error))}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: its options, its home, its output, and the time it was started."""

    options: Any
    home: Path
    out: Output
    now: float
