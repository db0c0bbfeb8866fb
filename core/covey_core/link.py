"""`covey:` links: a short text that carries bytes through messengers, mail and QR codes, and shows damage.

Owns: the text form of every kind of link. Spec: docs/spec/network.md, "Links". Never touches: what the bytes mean.

    covey:<kind>.<base64url, no padding>      kind: 1 to 16 of a-z
    bytes: version (1) | payload | checksum (4)
    checksum: first 4 bytes of SHA-256 over "covey:<kind>." | version | payload
"""

import base64
import hashlib
import re
from typing import Final

from covey_core import limits
from covey_core.errors import CoveyError, LinkInvalid

_CHECKSUM_BYTES: Final = 4
_VERSIONS: Final = 256
_KIND: Final = re.compile(rf"[a-z]{{1,{limits.LINK_KIND_CHARS}}}")
_SPACE: Final = re.compile(r"\s+")
_SHAPE: Final = re.compile(rf"covey:([a-z]{{1,{limits.LINK_KIND_CHARS}}})\.([A-Za-z0-9_-]+)")
_AROUND: Final = "<>()[]\"'`.,;\u201c\u201d\u00ab\u00bb"
"""What people and programs put around a link in running text."""
_DAMAGED: Final = "a character is missing or wrong: copy the whole link"


def encode_link(kind: str, version: int, payload: bytes) -> str:
    """Return the link for `payload`; `ValueError` for a kind or version that no link can carry, or too long a link."""
    if not _KIND.fullmatch(kind) or not 0 < version < _VERSIONS:
        raise ValueError(f"no link of kind {kind!r} and version {version}")
    head = bytes([version]) + payload
    text = f"covey:{kind}." + _to_text(head + _checksum(kind, head))
    if len(text) > limits.LINK_MAX_CHARS:
        raise ValueError(f"a link of {len(text)} characters is over the limit of {limits.LINK_MAX_CHARS}")
    return text


def decode_link(text: str) -> tuple[str, int, bytes]:
    """Return (kind, version, payload) of a link.

    White space in it (a wrapped line) and quotes around it are passed over. Raises `LinkInvalid` with a text that says
    what to do.
    """
    if len(text) > 2 * limits.LINK_MAX_CHARS:
        raise LinkInvalid(f"this text has {len(text)} characters: too long for a covey: link")
    packed = _SPACE.sub("", text).strip(_AROUND)
    if not packed.lower().startswith("covey:"):
        raise LinkInvalid("this is no covey: link: it must begin with covey:")
    shape = _SHAPE.fullmatch(packed)
    if shape is None or len(packed) > limits.LINK_MAX_CHARS:
        raise LinkInvalid(f"this covey: link is damaged: {_DAMAGED}")
    kind, body = shape.groups()
    raw = _from_text(body)
    head, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not head or checksum != _checksum(kind, head):
        raise LinkInvalid(f"this covey: link is damaged: {_DAMAGED}")
    return kind, head[0], head[1:]


def expect_link(text: str, *, kind: str, version: int) -> bytes:
    """Return the payload of a link of this `kind` and `version`; `LinkInvalid` says what is wrong with another one."""
    found, found_version, payload = decode_link(text)
    if found != kind:
        raise LinkInvalid(f"this is a covey:{found} link, and a covey:{kind} link is needed here")
    if found_version > version:
        raise LinkInvalid(
            f"this link is of version {found_version}, made by a newer Covey; this one knows version {version}: "
            "update Covey"
        )
    if found_version < version:
        raise LinkInvalid(f"this link is of version {found_version}, which is no longer in use: ask for a new one")
    return payload


def qr_text(link: str) -> str:
    """Return a QR code of `link` as lines of text for a terminal with dark or light background.

    Raises `CoveyError` when the optional package `segno` is missing, or the link is too long for a QR code.
    """
    try:
        import segno  # noqa: PLC0415 - optional, and slow to import for commands that show no code
    except ImportError as exc:
        raise CoveyError("no QR code can be shown: install the package segno (pip install segno)") from exc
    if len(link) > limits.QR_MAX_CHARS:
        raise CoveyError(f"the link has {len(link)} characters, too many for a QR code: send it as text")
    code = segno.make(link, error="l", micro=False, boost_error=False)
    return _half_blocks([[bool(module) for module in row] for row in code.matrix])


def _half_blocks(matrix: list[list[bool]]) -> str:
    # Two rows of modules to a line. Light modules are drawn, so that the code has its light quiet zone of 4 modules
    # (ISO/IEC 18004) on a dark terminal; scanners also read it inverted, as it looks on a light one.
    quiet = 4
    width = len(matrix[0]) + 2 * quiet
    blank = [False] * width
    rows = [blank] * quiet + [[False] * quiet + row + [False] * quiet for row in matrix] + [blank] * quiet
    if len(rows) % 2:
        rows.append(blank)
    glyphs = {(False, False): "\u2588", (False, True): "\u2580", (True, False): "\u2584", (True, True): " "}
    return "\n".join(
        "".join(glyphs[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )


def _checksum(kind: str, head: bytes) -> bytes:
    return hashlib.sha256(f"covey:{kind}.".encode() + head).digest()[:_CHECKSUM_BYTES]


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _from_text(body: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except ValueError as exc:  # binascii.Error: one character too many for any number of bytes
        raise LinkInvalid(f"this covey: link is damaged: {_DAMAGED}") from exc
    if _to_text(raw) != body:  # unused bits set: a wrong last character
        raise LinkInvalid(f"this covey: link is damaged: {_DAMAGED}")
    return raw
