"""Published vectors and edge keys for what the room builds on."""

from __future__ import annotations

import nacl.bindings as sodium
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from covey_node import crypto
from covey_node.crypto import primitives as p
from covey_node.crypto.seal import SealPair, check_seal_key, seal_to
from tests.node.crypto.people import SeededRng, flipped

# The points of order 1, 2, 4 and 8 as Wycheproof lists them, canonical and not (curve and twist).
LOW_ORDER_X25519 = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]
SMALL_ORDER_ED25519 = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
NON_CANONICAL_ED25519 = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_an_x25519_key_of_low_order_is_refused(point: str) -> None:
    with pytest.raises(crypto.KeyRefused):
        p.x25519_shared(b"\x55" * 32, bytes.fromhex(point))
    with pytest.raises(crypto.KeyRefused):
        p.check_x25519(bytes.fromhex(point))


def test_an_x25519_key_of_another_length_is_refused() -> None:
    with pytest.raises(crypto.KeyRefused):
        p.check_x25519(b"\x09" * 31)


@pytest.mark.parametrize("point", SMALL_ORDER_ED25519 + NON_CANONICAL_ED25519)
def test_an_ed25519_key_of_small_order_or_odd_form_is_refused_as_key_and_as_verifier(point: str) -> None:
    key = bytes.fromhex(point)
    with pytest.raises(crypto.KeyRefused):
        p.check_ed25519(key)
    # With a key of small order, R = A's torsion and S = 0 verify any message for one in eight challenges.
    identity = b"\x01" + bytes(31)
    for body in (bytes((n,)) for n in range(32)):
        with pytest.raises(crypto.SignatureInvalid):
            p.verify(key, b"context", body, identity + bytes(32))


def test_an_ed25519_key_with_a_torsion_part_is_refused() -> None:
    honest = p.ed25519_public(b"\x07" * 32)
    mixed = sodium.crypto_core_ed25519_add(honest, bytes.fromhex(SMALL_ORDER_ED25519[4]))
    assert p.check_ed25519(honest) == honest
    with pytest.raises(crypto.KeyRefused):
        p.check_ed25519(mixed)


def test_a_signature_cannot_be_given_another_form() -> None:
    public = p.ed25519_public(b"\x07" * 32)
    signature = p.sign(b"\x07" * 32, b"context", b"body")
    p.verify(public, b"context", b"body", signature)
    s = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    with pytest.raises(crypto.SignatureInvalid):
        p.verify(public, b"context", b"body", signature[:32] + s.to_bytes(32, "little"))


def test_a_signature_of_one_context_does_not_serve_another() -> None:
    public = p.ed25519_public(b"\x07" * 32)
    signature = p.sign(b"\x07" * 32, b"context", b"body")
    for context, body in ((b"contex", b"tbody"), (b"contextb", b"ody"), (b"Context", b"body")):
        with pytest.raises(crypto.SignatureInvalid):
            p.verify(public, context, body, signature)


def test_all_signature_contexts_and_labels_differ_and_none_begins_another() -> None:
    labels = [value for name, value in vars(p).items() if name.startswith(("LABEL_", "SIGN_", "PERSON_"))]
    assert len(labels) >= 14
    for one in labels:
        assert [other for other in labels if other.startswith(one)] == [one]
    assert all(len(value) <= 16 for name, value in vars(p).items() if name.startswith("PERSON_"))


def test_an_ml_kem_key_with_a_coefficient_out_of_range_is_refused() -> None:
    honest = p.KemPair(bytes(64)).public
    p.KemPublic(honest)
    with pytest.raises(crypto.KeyRefused):
        p.KemPublic(b"\xff\xff\xff" + honest[3:])
    with pytest.raises(crypto.KeyRefused):
        p.KemPublic(honest[:-1])


def test_hkdf_gives_what_another_implementation_gives() -> None:
    for length in (1, 64, 65, 160, 300):
        theirs = HKDF(hashes.SHA512(), length, bytes(64), b"info").derive(b"secret" * 20)
        assert p.hkdf_sha512(salt=bytes(64), secret=b"secret" * 20, info=b"info", length=length) == theirs


def test_x25519_gives_rfc_7748s_vector() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert p.x25519_shared(alice, bob).hex() == shared


def test_a_seal_key_comes_from_its_seed_as_x_wing_says() -> None:
    # draft-connolly-cfrg-xwing-kem appendix C, first vector: start of the ML-KEM half and the whole X25519 half.
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    public = SealPair(seed).public
    assert public[:36].hex() == "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3d"
    assert public[-32:].hex() == "859edb06eff389b27dce59844570216223593d4ba32d9abac8cd049040ef6534"
    assert len(public) == 1_216


@pytest.mark.parametrize("point", LOW_ORDER_X25519)
def test_a_seal_key_with_a_half_of_low_order_is_refused(point: str) -> None:
    honest = SealPair(bytes(32)).public
    assert check_seal_key(honest) == honest
    with pytest.raises(crypto.KeyRefused):
        check_seal_key(honest[:-32] + bytes.fromhex(point))


def test_what_is_sealed_opens_only_with_its_key_and_its_info() -> None:
    pair = SealPair.generate(SeededRng("seal"))
    sealed = seal_to(pair.public, b"content", b"info")
    assert pair.open(sealed, b"info") == b"content"
    for wrong, info in ((sealed, b"other"), (sealed[:-1], b"info"), (b"", b"info"), (flipped(sealed, 0), b"info")):
        with pytest.raises(crypto.Undecryptable):
            pair.open(wrong, info)
    with pytest.raises(crypto.Undecryptable):
        SealPair.generate(SeededRng("other")).open(sealed, b"info")


def test_secrets_do_not_show_in_a_repr() -> None:
    rng = SeededRng("repr")
    account, keys, prekeys = (
        crypto.Account.generate(rng),
        crypto.DeviceKeys.generate(rng),
        crypto.RecordKeys.generate(rng),
    )
    shown = f"{account!r} {keys!r} {prekeys!r} {p.KemPair(b'S' * 64)!r} {SealPair(b'S' * 32)!r}"
    for secret in (account.seed, keys.ed25519_seed, keys.x25519_secret, prekeys.seed, prekeys.share.secret, b"S" * 32):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
