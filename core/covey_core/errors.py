"""The errors of all Covey components: one root, and numbers instead of prose.

Expected refusals are returned as values; what is raised is a broken spec, a lost stream, or something that the user
must mend.
"""


class CoveyError(Exception):
    """The root of every error that Covey raises itself. Its text is fit to be shown to a user."""


class ProtocolViolation(CoveyError):
    """The peer broke a wire specification: its stream ends, the process goes on."""


class FrameTooLarge(ProtocolViolation):
    """A peer announced a frame of more bytes than the protocol allows."""

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(f"frame of {size} bytes is over the limit of {limit}")
        self.size = size
        self.limit = limit


class StreamLost(CoveyError):
    """A stream ended, was reset, or timed out before what was awaited on it had come."""


class Unreachable(CoveyError):
    """No path to a peer could be opened; the text says what was tried and why each try failed."""


class SettingsInvalid(CoveyError):
    """A setting, a file given in one, or a command-line value cannot be used; the text says what to do."""


class LinkInvalid(CoveyError):
    """A `covey:` link is damaged, of an unknown kind, or of a newer version."""


class FileDamaged(CoveyError):
    """A file of ours does not hold what it should; the text names the file and the way out."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path = path


class FileUnusable(CoveyError):
    """A file of ours cannot be read or written as it is: rights, a full disk, a missing folder; the text says which."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path = path
