"""How the `covey` command ends: exit codes, and the one error that carries them.

Owns: the codes. Spec: docs/users.md, "Exit codes". Never touches: printing.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can tell from the exit code."""

    OK = 0
    ERROR = 1  # anything else: a damaged file, a full disk, a bug
    USAGE = 2  # wrong options or values; also what argparse uses
    NOT_RUNNING = 3  # no node runs on this home, or it is still starting or already stopping
    NOT_FOUND = 4  # no such contact, message or invite
    REFUSED = 5  # the node will not do that, or a message failed or expired
    TIMEOUT = 6  # what was waited for did not come in time
    UNHEALTHY = 7  # `covey doctor` found that something is wrong
    INTERRUPTED = 130  # Ctrl-C, as shells say it


class CliError(Exception):
    """Ends the command: one line for people, a code for programs."""

    def __init__(self, exit_code: ExitCode, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code or exit_code.name.lower()
