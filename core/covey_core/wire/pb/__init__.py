"""Protobuf definitions and the code generated from them (`make proto`). Imported by the codecs beside it only."""
