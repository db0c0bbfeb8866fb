"""The committed vectors: what was once written can be read for ever, and comes out the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
import pytest

from covey_node import crypto
from covey_node.crypto.pqxdh import agree_as_responder
from covey_node.crypto.primitives import chain_step, hkdf_sha512, root_step
from covey_node.crypto.ratchet import root_context
from covey_node.crypto.safety_number import numeric_fingerprint

VECTORS = Path(__file__).parents[2] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def raw(value: str) -> bytes:
    return bytes.fromhex(value)


SESSION = load("e2ee_session.json")
RECORD = load("e2ee_record.json")


def local(side: dict[str, str]) -> crypto.LocalDevice:
    return crypto.LocalDevice(
        crypto.DeviceKeys.decode(raw(side["device_keys"])), crypto.DeviceList.decode(raw(side["device_list"]))
    )


@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_accounts_devices_and_lists_come_out_the_same(role: str) -> None:
    side = SESSION[role]
    account = crypto.Account.from_seed(raw(side["account_seed"]))
    device = local(side)
    assert account.public_key.hex() == side["account"] == device.account.hex()
    assert (device.keys.ed25519.hex(), device.keys.x25519.hex()) == (side["ed25519"], side["x25519"])
    assert device.devices.number == 2
    assert device.devices.hash.hex() == side["device_list_hash"]
    assert device.devices.encode().hex() == side["device_list"]


def test_the_bundle_is_what_its_private_halves_give() -> None:
    side = SESSION["responder"]
    bundle = crypto.Bundle.decode(raw(side["bundle"]))
    prekeys = crypto.Prekeys.decode(raw(side["prekeys"]))
    assert bundle.encode().hex() == side["bundle"]
    made = prekeys.bundle(local(side), now=SESSION["now"])
    assert bundle.one_time is not None
    assert made.with_one_time(bundle.one_time) == bundle


def test_the_first_contact_opens_to_the_same_keys_and_state() -> None:
    vector = SESSION["first_contact"]
    bob = local(SESSION["responder"])
    prekeys = crypto.Prekeys.decode(raw(SESSION["responder"]["prekeys"]))
    first = crypto.unseal(bob, prekeys, raw(vector["envelope"]))
    assert first.offer.base_key.hex() == vector["base_key"]
    assert first.offer.kem_ciphertext.hex() == vector["kem_ciphertext"]
    assert (first.offer.one_time_id, first.offer.generation) == (vector["one_time_id"], vector["generation"])
    assert first.base_key_hash.hex() == vector["base_key_hash"]
    assert first.packet.hex() == vector["inner_packet"]
    pair = prekeys.one_time_pair(first.offer.one_time_id)
    assert pair is not None
    agreed = agree_as_responder(
        first.offer,
        identity=bob.keys.x25519_secret,
        signed_prekey=prekeys.generation(first.offer.generation).signed_prekey,
        one_time_prekey=pair.x25519_secret,
        kem=pair.kem,
    )
    for name in ("associated_data", "root_key", "initiator_header_keys", "responder_header_keys"):
        assert getattr(agreed, name).hex() == vector[name]
    accepted = first.accept(bob, prekeys, now=SESSION["now"])
    assert accepted.plaintext.hex() == vector["plaintext"]
    assert accepted.session.encode().hex() == vector["responder_state"]
    assert crypto.Session.decode(raw(vector["initiator_state"])).awaits_reply


@pytest.mark.parametrize("step", range(len(SESSION["reading"])))
def test_a_packet_is_read_to_the_same_text_and_state(step: int) -> None:
    vector = SESSION["reading"][step]
    session, text = crypto.Session.decode(raw(vector["state_before"])).decrypt(raw(vector["packet"]), now=vector["now"])
    assert text.hex() == vector["plaintext"]
    assert session.encode().hex() == vector["state_after"]


def test_a_packet_is_written_to_the_same_bytes_and_state() -> None:
    vector = SESSION["writing"]
    session, packet = crypto.Session.decode(raw(vector["state_before"])).encrypt(
        raw(vector["plaintext"]), lambda size: raw(vector["nonce"])[:size]
    )
    assert packet.hex() == vector["packet"]
    assert session.encode().hex() == vector["state_after"]


def test_keys_are_derived_the_same() -> None:
    keys = load("e2ee_keys.json")
    chain, root, context, hkdf = (keys[name] for name in ("chain_step", "root_step", "root_context", "hkdf_sha512"))
    assert [part.hex() for part in chain_step(raw(chain["chain_key"]))] == chain["next"]
    assert [part.hex() for part in root_step(raw(root["root_key"]), raw(root["secrets"]))] == root["next"]
    assert root_context(raw(context["announced"]), raw(context["x25519"]), raw(context["kem"])).hex() == context["hash"]
    out = hkdf_sha512(salt=raw(hkdf["salt"]), secret=raw(hkdf["secret"]), info=raw(hkdf["info"]), length=160)
    assert out.hex() == hkdf["out"]


@pytest.mark.parametrize("at", range(len(RECORD["days"])))
def test_records_are_blinded_signed_and_sealed_the_same(at: int) -> None:
    vector = RECORD["days"][at]
    keys = crypto.RecordKeys.decode(b"\x01" + raw(RECORD["seed"]) + raw(RECORD["secret"]))
    day = vector["day"]
    assert keys.share.public.hex() == RECORD["public"]
    assert keys.share.blinding_factor(day).hex() == vector["blinding_factor"]
    assert keys.share.blinded_key(day).hex() == vector["blinded_key"]
    assert keys.sign(day, raw(vector["message"])).hex() == vector["signature"]
    assert keys.share.seal(day, raw(vector["plaintext"]), lambda _: raw(vector["nonce"])).hex() == vector["sealed"]
    signed = raw(vector["signature"]) + raw(vector["message"])
    assert sodium.crypto_sign_open(signed, raw(vector["blinded_key"])) == raw(vector["message"])


def test_safety_numbers_and_wraps_come_out_the_same() -> None:
    other = load("e2ee_other.json")
    for vector in other["safety_number"]:
        one, two = ((raw(key), raw(name)) for key, name in zip(vector["keys"], vector["identifiers"], strict=True))
        assert numeric_fingerprint(one, two) == vector["number"]
    for vector in other["at_rest"]:
        secret = raw(vector["secret"]) if "secret" in vector else None
        opened = crypto.unwrap(raw(vector["wrapped"]), passphrase=vector.get("passphrase"), secret=secret)
        assert opened.hex() == vector["key"]
