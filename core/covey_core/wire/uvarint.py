"""Unsigned variable-length integers.

Owns: the encoding. Spec: multiformats/unsigned-varint (LEB128, least significant group first, at most 9 bytes = 63
bits, shortest form only). Never touches: streams.
"""

from covey_core.errors import ProtocolViolation
from covey_core.limits import UVARINT_MAX_BYTES

_MORE = 0x80
_GROUP = 0x7F
MAX_VALUE = (1 << 7 * UVARINT_MAX_BYTES) - 1


def encode(value: int) -> bytes:
    """Return `value` (0 to 2**63 - 1) in 1 to 9 bytes; `ValueError` outside that range."""
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"{value} does not fit in an unsigned varint of {UVARINT_MAX_BYTES} bytes")
    out = bytearray()
    while value > _GROUP:
        out.append(value & _GROUP | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes | bytearray | memoryview, start: int = 0) -> tuple[int, int] | None:
    """Return (value, index after it) of the varint at `start`, or None when more bytes are needed.

    Raises `ProtocolViolation` for a varint of more than 9 bytes or one that is not in its shortest form.
    """
    value = 0
    for index in range(UVARINT_MAX_BYTES):
        if start + index >= len(data):
            return None
        byte = data[start + index]
        value |= (byte & _GROUP) << 7 * index
        if not byte & _MORE:
            if byte == 0 and index > 0:
                raise ProtocolViolation("a varint that is not in its shortest form")
            return value, start + index + 1
    raise ProtocolViolation(f"a varint of more than {UVARINT_MAX_BYTES} bytes")
