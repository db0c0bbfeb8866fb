"""Small files that must never be half-written or readable by others.

Owns: atomic writing, reading of secrets with a check of their rights. Never touches: what is inside.
"""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from covey_core.errors import FileUnusable

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def atomic_write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` so that after a crash the file is either the old one or the new one, complete and durable.

    A temporary file in the same folder is written, flushed to the disk and renamed; then the folder is flushed.
    Raises `FileUnusable` with the reason (full disk, no rights, no folder); the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)  # whatever the umask says
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unusable(path, exc) from exc


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, *, limit_bytes: int) -> bytes:
    """Return a file's contents; `FileUnusable` when it is over the limit, no regular file, or cannot be read."""
    return _read(path, limit_bytes=limit_bytes, private=False)


def read_private(path: Path, *, limit_bytes: int) -> bytes:
    """Return a secret file's contents; `FileUnusable` also when group or others have any right on it."""
    return _read(path, limit_bytes=limit_bytes, private=True)


def _read(path: Path, *, limit_bytes: int, private: bool) -> bytes:
    try:
        # Not blocking: a named pipe in the file's place must not stop the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())  # of the open file: the name may be moved meanwhile
            if not stat.S_ISREG(found.st_mode):
                raise FileUnusable(str(path), "not a regular file", "Give the path of a file.")
            if private and found.st_mode & _OTHERS:
                mode = stat.S_IMODE(found.st_mode)
                raise FileUnusable(
                    str(path), f"others may read this secret (mode {mode:04o})", f"Run: chmod 600 {path}"
                )
            data = file.read(limit_bytes + 1)
    except OSError as exc:
        raise unusable(path, exc) from exc
    if len(data) > limit_bytes:
        raise FileUnusable(str(path), f"larger than {limit_bytes} bytes", "Check that the path is the right one.")
    return data


def unusable(path: Path, exc: OSError) -> FileUnusable:
    """Return the error for a failed system call on `path`, with what a user can do about it."""
    remedies = {
        errno.ENOSPC: "The disk is full: free some space and try again; the old file is untouched.",
        errno.EDQUOT: "The disk quota is used up: free some space and try again; the old file is untouched.",
        errno.EROFS: "The file system is read-only: give a path on a writable volume.",
        errno.EACCES: "Check the owner and the rights of the file and its folder.",
        errno.EPERM: "Check the owner and the rights of the file and its folder.",
        errno.ENOENT: "Check the path; its folder must exist.",
        errno.EISDIR: "Give the path of a file, not of a folder.",
    }
    reason = exc.strerror or type(exc).__name__
    return FileUnusable(str(path), reason, remedies.get(exc.errno or 0, "Check the path and the disk."))
