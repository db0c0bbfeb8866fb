"""Bytes to values and back: codecs that parse any bytes or raise `ProtocolViolation`."""
