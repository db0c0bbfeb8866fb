"""Writes the test vectors of docs/spec/e2ee.md: `python -m tests.vectors.generate_e2ee --overwrite`.

Run once; the files are committed. Everything comes from a seed but the encapsulations, whose randomness is the
library's own: a second run gives other files that are as good, and readers of the old ones would have to be told.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from covey_node import crypto
from covey_node.crypto.first_contact import FirstContact
from covey_node.crypto.pqxdh import agree_as_responder
from covey_node.crypto.primitives import chain_step, hkdf_sha512, root_step
from covey_node.crypto.ratchet import root_context
from covey_node.crypto.safety_number import numeric_fingerprint
from tests.node.crypto.people import NOW, Person, SeededRng

HERE = Path(__file__).parent


def person(name: str, device_added: int) -> tuple[Person, dict[str, Any]]:
    found = Person(name)
    phone = crypto.DeviceKeys.generate(SeededRng(name + " phone"))
    devices = found.local.devices.adding(found.account, phone.public(added_at=device_added), now=device_added)
    found.local = crypto.LocalDevice(found.local.keys, devices)
    return found, {
        "account_seed": found.account.seed.hex(),
        "account": found.account.public_key.hex(),
        "device_keys": found.local.keys.encode().hex(),
        "ed25519": found.local.keys.ed25519.hex(),
        "x25519": found.local.keys.x25519.hex(),
        "device_list": devices.encode().hex(),
        "device_list_hash": devices.hash.hex(),
    }


def set_up(first: FirstContact, bob: Person) -> dict[str, Any]:
    """Return the values between an opened envelope and the ratchet."""
    pair = bob.prekeys.one_time_pair(first.offer.one_time_id)
    assert pair is not None
    generation = bob.prekeys.generation(first.offer.generation)
    agreed = agree_as_responder(
        first.offer,
        identity=bob.local.keys.x25519_secret,
        signed_prekey=generation.signed_prekey,
        one_time_prekey=pair.x25519_secret,
        kem=pair.kem,
    )
    return {
        "base_key": first.offer.base_key.hex(),
        "kem_ciphertext": first.offer.kem_ciphertext.hex(),
        "one_time_id": first.offer.one_time_id,
        "generation": first.offer.generation,
        "base_key_hash": first.base_key_hash.hex(),
        "associated_data": agreed.associated_data.hex(),
        "root_key": agreed.root_key.hex(),
        "initiator_header_keys": agreed.initiator_header_keys.hex(),
        "responder_header_keys": agreed.responder_header_keys.hex(),
        "inner_packet": first.packet.hex(),
    }


def session_vectors() -> dict[str, Any]:
    alice, alice_values = person("vector alice", NOW)
    bob, bob_values = person("vector bob", NOW)
    bundle = bob.bundle(one_time=True)
    bob_values |= {"prekeys": bob.prekeys.encode().hex(), "bundle": bundle.encode().hex()}
    hers, envelope = crypto.initiate(alice.local, bundle, b"first contact", alice.rng, now=NOW)
    first = crypto.unseal(bob.local, bob.prekeys, envelope)
    accepted = first.accept(bob.local, bob.prekeys, now=NOW)
    contact = {
        "envelope": envelope.hex(),
        **set_up(first, bob),
        "plaintext": accepted.plaintext.hex(),
        "initiator_state": hers.encode().hex(),
        "responder_state": accepted.session.encode().hex(),
    }
    sides = [hers, accepted.session]
    rngs = [alice.rng, bob.rng]
    texts = [b"an answer", b"the next turn", b"skipped", b"before the skipped one", b"", b"back"]
    writers = [1, 0, 0, 0, 1, 1]
    order = [0, 1, 3, 2, 4, 5]
    packets = []
    for text, writer in zip(texts[:1], writers[:1], strict=True):
        sides[writer], packet = sides[writer].encrypt(text, rngs[writer])
        packets.append(packet)
    steps = []

    def read(index: int) -> None:
        reader = 1 - writers[index]
        before = sides[reader].encode()
        sides[reader], text = sides[reader].decrypt(packets[index], now=NOW + index)
        assert text == texts[index]
        steps.append(
            {
                "reader": ["initiator", "responder"][reader],
                "now": NOW + index,
                "state_before": before.hex(),
                "packet": packets[index].hex(),
                "plaintext": text.hex(),
                "state_after": sides[reader].encode().hex(),
            }
        )

    read(0)
    for index in (1, 2, 3):
        sides[0], packet = sides[0].encrypt(texts[index], rngs[0])
        packets.append(packet)
    for index in order[1:4]:
        read(index)
    for index in (4, 5):
        sides[1], packet = sides[1].encrypt(texts[index], rngs[1])
        packets.append(packet)
        read(index)
    nonce = bytes(range(12))
    before = sides[1].encode()
    after, packet = sides[1].encrypt(b"written under a given nonce", lambda size: nonce[:size])
    writing = {
        "state_before": before.hex(),
        "nonce": nonce.hex(),
        "plaintext": b"written under a given nonce".hex(),
        "packet": packet.hex(),
        "state_after": after.encode().hex(),
    }
    return {
        "suite": 1,
        "version": 1,
        "now": NOW,
        "initiator": alice_values,
        "responder": bob_values,
        "first_contact": contact,
        "reading": steps,
        "writing": writing,
    }


def key_vectors() -> dict[str, Any]:
    rng = SeededRng("key vectors")
    chain, root, secrets, announced = rng(32), rng(32), rng(96), rng(2_304)
    peer, kem = rng(32), rng(1_184)
    return {
        "chain_step": {"chain_key": chain.hex(), "next": [part.hex() for part in chain_step(chain)]},
        "root_step": {
            "root_key": root.hex(),
            "secrets": secrets.hex(),
            "next": [part.hex() for part in root_step(root, secrets)],
        },
        "root_context": {
            "announced": announced.hex(),
            "x25519": peer.hex(),
            "kem": kem.hex(),
            "hash": root_context(announced, peer, kem).hex(),
        },
        "hkdf_sha512": {
            "salt": bytes(64).hex(),
            "secret": secrets.hex(),
            "info": b"info".hex(),
            "out": hkdf_sha512(salt=bytes(64), secret=secrets, info=b"info", length=160).hex(),
        },
    }


def record_vectors() -> dict[str, Any]:
    keys = crypto.RecordKeys.generate(SeededRng("record vectors"))
    days = []
    for day in (0, 20_833, 20_834):
        nonce = bytes([day % 256]) * 24
        days.append(
            {
                "day": day,
                "blinding_factor": keys.share.blinding_factor(day).hex(),
                "blinded_key": keys.share.blinded_key(day).hex(),
                "message": b"a message".hex(),
                "signature": keys.sign(day, b"a message").hex(),
                "nonce": nonce.hex(),
                "plaintext": b"a record".hex(),
                "sealed": keys.share.seal(day, b"a record", lambda _, nonce=nonce: nonce).hex(),  # type: ignore[misc]
            }
        )
    return {"seed": keys.seed.hex(), "public": keys.share.public.hex(), "secret": keys.share.secret.hex(), "days": days}


def other_vectors() -> dict[str, Any]:
    rng = SeededRng("at rest vectors")
    key, secret = rng(32), rng(32)
    alice, bob = (Person(name).account.public_key for name in ("alice", "bob"))
    published = [
        ("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868", b"+14152222222"),
        ("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b", b"+14153333333"),
    ]
    first, second = ((bytes.fromhex(key_hex), identifier) for key_hex, identifier in published)
    return {
        "safety_number": [
            {
                "keys": [first[0].hex(), second[0].hex()],
                "identifiers": [first[1].hex(), second[1].hex()],
                "number": numeric_fingerprint(first, second),
            },
            {
                "keys": [alice.hex(), bob.hex()],
                "identifiers": [alice.hex(), bob.hex()],
                "number": crypto.safety_number(alice, bob),
            },
        ],
        "at_rest": [
            {
                "key": key.hex(),
                "passphrase": "correct horse caf\u00e9",
                "wrapped": crypto.wrap_with_passphrase(
                    key, "correct horse cafe\u0301", rng, operations=2, memory_bytes=65_536
                ).hex(),
            },
            {"key": key.hex(), "secret": secret.hex(), "wrapped": crypto.wrap_with_secret(key, secret, rng).hex()},
        ],
    }


FILES = {
    "e2ee_session.json": session_vectors,
    "e2ee_keys.json": key_vectors,
    "e2ee_record.json": record_vectors,
    "e2ee_other.json": other_vectors,
}


def main() -> int:
    if "--overwrite" not in sys.argv and any((HERE / name).exists() for name in FILES):
        sys.stderr.write("the vectors exist; --overwrite makes other ones\n")
        return 1
    for name, make in FILES.items():
        (HERE / name).write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
