"""End-to-end encryption of two devices: values in, values out.

Owns: accounts, devices, prekeys, set-up (PQXDH), sessions (Double Ratchet with ML-KEM), envelopes, safety numbers, keys
of contact records, and the wrap of the database key. Spec: docs/spec/e2ee.md.
Never touches: sockets, files, the clock (callers pass `now`), logs. Randomness is passed in as `rng`; encapsulations
draw theirs inside the library.

The rule of use: commit the returned session in the same transaction as the message, before a packet leaves and before
one is acknowledged; after an error go on with the old session.
"""

from covey_node.crypto.account import Account, Device, DeviceKeys
from covey_node.crypto.at_rest import (
    needs_passphrase,
    new_database_key,
    unwrap,
    wrap_with_passphrase,
    wrap_with_secret,
)
from covey_node.crypto.blinding import RecordKeys, RecordShare, day_of
from covey_node.crypto.bundle import Bundle, OneTimePrekey
from covey_node.crypto.devices import DeviceList, LocalDevice, Revocation, Succession
from covey_node.crypto.errors import (
    KeyRefused,
    MessageKeyGone,
    PlaintextTooLarge,
    PrekeysExpired,
    SignatureInvalid,
    SkippedTooFar,
    StateDamaged,
    Undecryptable,
    WrapDamaged,
    WrongSecret,
)
from covey_node.crypto.first_contact import Accepted, FirstContact, initiate, unseal
from covey_node.crypto.prekeys import OneTimePair, Prekeys, new_one_time_pairs
from covey_node.crypto.primitives import Rng
from covey_node.crypto.public_profile import profile_keys, profile_share
from covey_node.crypto.safety_number import safety_number
from covey_node.crypto.session import MAX_PLAINTEXT_BYTES, PacketKind, Session, packet_kind, preferred
from covey_node.crypto.stock import StockKeys, admission_secret

__all__ = [
    "MAX_PLAINTEXT_BYTES",
    "Accepted",
    "Account",
    "Bundle",
    "Device",
    "DeviceKeys",
    "DeviceList",
    "FirstContact",
    "KeyRefused",
    "LocalDevice",
    "MessageKeyGone",
    "OneTimePair",
    "OneTimePrekey",
    "PacketKind",
    "PlaintextTooLarge",
    "Prekeys",
    "PrekeysExpired",
    "RecordKeys",
    "RecordShare",
    "Revocation",
    "Rng",
    "Session",
    "SignatureInvalid",
    "SkippedTooFar",
    "StateDamaged",
    "StockKeys",
    "Succession",
    "Undecryptable",
    "WrapDamaged",
    "WrongSecret",
    "admission_secret",
    "day_of",
    "initiate",
    "needs_passphrase",
    "new_database_key",
    "new_one_time_pairs",
    "packet_kind",
    "preferred",
    "profile_keys",
    "profile_share",
    "safety_number",
    "unseal",
    "unwrap",
    "wrap_with_passphrase",
    "wrap_with_secret",
]
