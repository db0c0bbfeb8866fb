"""What can go wrong with the store, in words that say what to do.

Owns: the store's error classes. A damaged file is `covey_core.errors.FileDamaged`.
"""

from __future__ import annotations

from covey_core.errors import CoveyError


class StoreError(CoveyError):
    """The database could not do what was asked; the transaction was rolled back."""


class StoreFull(StoreError):
    """There is no room for the transaction: it was rolled back whole, nothing was lost, and the node goes on."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: the disk is full, nothing was changed. Free some space and try again.")
        self.path = path


class StoreClosed(StoreError):
    """The database is being closed: what was not started yet is not done."""


class Conflict(StoreError):
    """A row with the same unique value exists, or a row that is pointed at does not."""


class AliasTaken(Conflict):
    """Another contact has this alias already (case does not count)."""

    def __init__(self, alias: str) -> None:
        super().__init__(f"another contact is called {alias!r} already; choose another name")
        self.alias = alias


class WrongPassphrase(CoveyError):
    """The passphrase, or the secret file, does not open this home's key. Nothing was changed."""


class SecretTooShort(CoveyError):
    """A secret file holds too little to be guessed by nobody."""

    def __init__(self, *, path: str, size: int, least: int) -> None:
        super().__init__(
            f"{path} holds {size} bytes, and a secret file needs {least} random ones or more: "
            f"make one with `openssl rand -base64 32 > {path}`"
        )
        self.size = size
        self.least = least


class HomeMissing(CoveyError):
    """There is no node's home in that directory."""


class HomeExists(CoveyError):
    """There is a node's home in that directory already."""


class HomeInUse(CoveyError):
    """Another process has this home open."""


class NewerDatabase(CoveyError):
    """The database was written by a newer version of Covey."""

    def __init__(self, *, path: str, version: int, known: int) -> None:
        super().__init__(
            f"{path} has version {version}, and this program knows versions up to {known}. "
            "Start the newer program that wrote it, or restore the backup from before its first start."
        )
        self.version = version
        self.known = known
