"""Who may write to a queue, how much work that takes, how fast, and what a full disk refuses first."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from nacl.signing import SigningKey

from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_proof import decode_task, encode_task, find_answer
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.allowance import Allowance, Buckets
from covey_relay.mailbox.policy import (
    Allowed,
    Queue,
    Traffic,
    expires_at,
    judge_asker,
    judge_owner,
    judge_writer,
    shed,
    traffic_of,
)
from covey_relay.mailbox.work import WorkCheck, WorkDesk, due_bits

OWNER, WRITER, EVE = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
SEND_ID, OTHER_ID = bytes(24), bytes([1]) * 24
SUBJECT, OTHER_SUBJECT = bytes(16), bytes([1]) * 16
NOW = 1_700_000_000.0
SIGNED = b"what is signed"
AUTH, WORK = m.Refused(m.Reason.AUTH), m.Refused(m.Reason.WORK)


def public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


def queue(admit: m.Admit, depth: int = 0) -> Queue:
    return Queue(public(OWNER), admit, depth)


def write(
    target: Queue | None,
    *,
    by: SigningKey | None = None,
    proof: m.Proof | None = None,
    desk: WorkDesk | None = None,
    **changed: object,
) -> Allowed | m.Refused:
    fine: dict[str, object] = {
        "send_id": SEND_ID, "signed": SIGNED, "signature": by.sign(SIGNED).signature if by else b"", "proof": proof,
        "purpose": m.Purpose.PUT, "subject": SUBJECT, "desk": desk or WorkDesk(key=bytes(32)), "now": NOW,
    }  # fmt: skip
    return judge_writer(target, **{**fine, **changed})  # type: ignore[arg-type]


# --- keys and secrets -------------------------------------------------------------------------------------------------


def test_only_the_owner_commands_a_queue() -> None:
    mine = queue(m.AdmitOpen())
    assert judge_owner(mine, signed=SIGNED, signature=OWNER.sign(SIGNED).signature) == Allowed()
    for target, signature in (
        (mine, EVE.sign(SIGNED).signature),
        (mine, OWNER.sign(b"else").signature),
        (mine, b""),
        (None, OWNER.sign(SIGNED).signature),
        (None, b""),
    ):
        assert judge_owner(target, signed=SIGNED, signature=signature) == AUTH


def test_a_queue_with_a_send_key_takes_nothing_else() -> None:
    target = queue(m.AdmitKey(public(WRITER)))
    assert write(target, by=WRITER) == Allowed()
    assert write(target, by=EVE) == AUTH
    assert write(target, by=OWNER) == AUTH
    assert write(target) == AUTH
    assert write(target, proof=m.SecretProof(bytes(32))) == AUTH


def test_no_queue_answers_like_a_wrong_signature() -> None:
    assert write(None, by=WRITER) == write(None) == write(queue(m.AdmitKey(public(WRITER))), by=EVE) == AUTH


def test_only_a_writer_with_a_key_may_ask_what_lies_in_a_queue() -> None:
    signature = WRITER.sign(SIGNED).signature
    mine = queue(m.AdmitKey(public(WRITER)))
    assert judge_asker(mine, signed=SIGNED, signature=signature) == Allowed()
    for target, other in (
        (mine, EVE.sign(SIGNED).signature),
        (mine, b""),
        (queue(m.AdmitOpen()), signature),
        (queue(m.AdmitWork(0)), b""),
        (None, signature),
    ):
        assert judge_asker(target, signed=SIGNED, signature=other) == AUTH


def test_a_password_and_a_token_are_known_or_not() -> None:
    secrets = [bytes([n]) * 32 for n in range(3)]
    hashes = tuple(hashlib.sha256(one).digest() for one in secrets)
    password, tokens = queue(m.AdmitPassword(hashes[0])), queue(m.AdmitTokens(hashes[:2]))
    assert write(password, proof=m.SecretProof(secrets[0])) == Allowed()
    assert write(tokens, proof=m.SecretProof(secrets[1])) == Allowed(token=hashes[1])
    for target, proof in (
        (password, m.SecretProof(secrets[1])),
        (password, m.SecretProof(hashes[0])),
        (password, None),
        (tokens, m.SecretProof(secrets[2])),
        (tokens, m.WorkProof(bytes(59), 0)),
    ):
        assert write(target, proof=proof) == AUTH
    assert write(queue(m.AdmitOpen())) == Allowed()


# --- work -------------------------------------------------------------------------------------------------------------


def solved(desk: WorkDesk, bits: int = 6, **changed: object) -> m.WorkProof:
    fine: dict[str, object] = {
        "send_id": SEND_ID, "purpose": m.Purpose.PUT, "bits": bits, "random": bytes(16), "now": NOW
    }  # fmt: skip
    challenge = desk.issue(**{**fine, **changed})  # type: ignore[arg-type]
    answer = find_answer(challenge, subject=SUBJECT, first=0, tries=2**16)
    assert answer is not None
    return m.WorkProof(challenge, answer)


def check(desk: WorkDesk, proof: m.WorkProof, **changed: object) -> WorkCheck:
    fine: dict[str, object] = {
        "send_id": SEND_ID, "purpose": m.Purpose.PUT, "subject": SUBJECT, "due": 6, "now": NOW
    }  # fmt: skip
    return desk.check(proof, **{**fine, **changed})  # type: ignore[arg-type]


def test_work_is_good_for_one_queue_one_purpose_one_subject_and_ten_minutes() -> None:
    desk = WorkDesk(key=bytes(32))
    proof = solved(desk, bits=12)
    assert check(desk, proof) is WorkCheck.GOOD
    assert check(desk, proof, now=NOW + 599) is WorkCheck.GOOD
    assert check(desk, proof, now=NOW + 600) is WorkCheck.BAD
    assert check(desk, proof, send_id=OTHER_ID) is WorkCheck.BAD
    assert check(desk, proof, purpose=m.Purpose.TAKE) is WorkCheck.BAD
    assert check(desk, proof, subject=OTHER_SUBJECT) is WorkCheck.BAD
    assert check(WorkDesk(key=bytes([1]) * 32), proof) is WorkCheck.BAD
    easier = dataclasses.replace(decode_task(proof.challenge), bits=0)
    assert check(desk, m.WorkProof(encode_task(easier), proof.answer), due=0) is WorkCheck.BAD
    assert check(desk, m.WorkProof(bytes(59), 0), due=0) is WorkCheck.BAD


def test_work_is_used_once_and_remembered_to_its_end() -> None:
    desk = WorkDesk(key=bytes(32))
    proof = solved(desk)
    assert desk.spend(proof, now=NOW)
    assert check(desk, proof) is WorkCheck.BAD
    assert not desk.spend(proof, now=NOW)
    assert not desk.spend(proof, now=NOW + 599)
    desk.spend(solved(desk, random=bytes([1]) * 16, now=NOW + 700), now=NOW + 700)
    assert len(desk) == 1


def test_a_desk_that_can_remember_no_more_accepts_no_more() -> None:
    desk = WorkDesk(key=bytes(32), spent_max=1)
    one, two = (solved(desk, random=bytes([n]) * 16) for n in range(2))
    assert desk.spend(one, now=NOW)
    assert check(desk, two) is WorkCheck.FULL
    assert not desk.spend(two, now=NOW)
    assert write(queue(m.AdmitWork(0)), proof=two, desk=desk) == WORK  # 6 bits are too few in any case


def test_work_grows_with_the_depth_and_never_beyond_what_a_phone_can_do() -> None:
    depths = {0: 18, 15: 18, 16: 19, 31: 19, 32: 20, 64: 21, 512: 24, 1024: 24}
    assert {depth: due_bits(asked=0, depth=depth) for depth in depths} == depths
    assert due_bits(asked=22, depth=0) == 22
    assert due_bits(asked=22, depth=16) == 23
    assert due_bits(asked=24, depth=1024) == 24


def test_a_challenge_may_be_one_bit_behind_its_queue_and_not_two() -> None:
    desk = WorkDesk(key=bytes(32))
    proof = solved(desk, bits=6)
    assert check(desk, proof, due=7) is WorkCheck.GOOD
    assert check(desk, proof, due=8) is WorkCheck.BAD


def test_a_contact_queue_asks_for_work_and_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAILBOX_WORK_BITS", 6)
    desk = WorkDesk(key=bytes(32))
    target = queue(m.AdmitWork(0))
    proof = solved(desk, bits=6)
    assert write(target, desk=desk) == WORK
    assert write(target, desk=desk, proof=m.SecretProof(bytes(32))) == WORK
    assert write(target, desk=desk, proof=proof) == Allowed(work=proof)
    assert write(queue(m.AdmitWork(0), depth=16), desk=desk, proof=proof) == Allowed(work=proof)
    assert write(queue(m.AdmitWork(0), depth=32), desk=desk, proof=proof) == WORK
    assert write(queue(m.AdmitWork(8)), desk=desk, proof=proof) == WORK


# --- disk and time ----------------------------------------------------------------------------------------------------


def test_a_filling_disk_refuses_new_queues_first_and_contacts_last() -> None:
    def refused(share: float) -> set[Traffic]:
        return {kind for kind in Traffic if shed(kind, used_bytes=int(share * 1000), cap_bytes=1000)}

    assert refused(0.84) == set()
    assert refused(0.85) == {Traffic.NEW}
    assert refused(0.90) == {Traffic.NEW, Traffic.CONTACT}
    assert refused(0.95) == {Traffic.NEW, Traffic.CONTACT, Traffic.FORWARDED}
    assert refused(1.0) == set(Traffic)
    assert shed(Traffic.NEW, used_bytes=1000, cap_bytes=1000) == m.Refused(m.Reason.BUSY, 600)


def test_a_deposit_counts_as_what_it_is() -> None:
    key, contact = m.AdmitKey(bytes(32)), (m.AdmitOpen(), m.AdmitWork(3), m.AdmitPassword(bytes(32)))
    assert traffic_of(key, forwarded=False) is Traffic.ESTABLISHED
    assert traffic_of(key, forwarded=True) is Traffic.FORWARDED
    assert {traffic_of(one, forwarded=way) for one in contact for way in (True, False)} == {Traffic.CONTACT}


@given(st.integers(1, 30 * 86_400), st.floats(0, 2e9))
def test_a_message_ends_at_a_full_hour_after_its_time_and_within_the_relays_bound(ttl: int, now: float) -> None:
    end = expires_at(ttl_seconds=ttl, bounds=MailboxLimits(), now=now)
    assert end % 3600 == 0
    wanted = int(now) + min(ttl, 21 * 86_400)
    assert wanted <= end < wanted + 3600


# --- how fast ---------------------------------------------------------------------------------------------------------


class BucketMachine(RuleBasedStateMachine):
    """Every key gets its burst and then its rate, whoever else asks; nobody is forgotten while that would help him."""

    def __init__(self) -> None:
        super().__init__()
        self.buckets = Buckets(rate=0.5, burst=3, keys_max=4)
        self.now = 0.0
        self.granted: dict[int, list[float]] = {}

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.integers(0, 6))
    def ask(self, key: int) -> None:
        wait = self.buckets.wait_seconds(key, now=self.now)
        assert wait >= 0.0
        if wait == 0.0:
            self.buckets.take(key, now=self.now)
            self.granted.setdefault(key, []).append(self.now)
        elif len(self.buckets) < 4:
            assert len([at for at in self.granted.get(key, []) if at > self.now - 6.0]) > 0

    @invariant()
    def nobody_gets_more_than_burst_and_rate(self) -> None:
        for times in self.granted.values():
            for first, start in enumerate(times):
                within = len(times) - first
                assert within <= 3 + (self.now - start) * 0.5 + 1e-6

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.buckets) <= 4


TestBuckets = BucketMachine.TestCase
TestBuckets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_who_waits_as_long_as_told_is_served() -> None:
    buckets = Buckets(rate=0.25, burst=2)
    for _ in range(2):
        assert buckets.wait_seconds("a", now=0) == 0.0
        buckets.take("a", now=0)
    wait = buckets.wait_seconds("a", now=1.0)
    assert wait == pytest.approx(3.0)
    assert buckets.wait_seconds("a", now=1.0 + wait) == 0.0
    assert buckets.wait_seconds("a", now=-50.0) > 0.0  # a clock that goes back gives nothing


def test_an_address_has_a_few_peers_worth_and_refusals_cost_nobody_anything() -> None:
    allowance = Allowance(rate=1.0, burst=2, factor=2)
    home, other = ["192.0.2.1"], ["192.0.2.2"]
    assert [allowance.take(f"p{n % 3}", home, now=0.0) for n in range(4)] == [0.0] * 4
    assert allowance.take("p2", home, now=0.0) > 0.0
    assert allowance.take("p2", other, now=0.0) == 0.0  # its own bucket still has the token
    assert allowance.take("p2", other, now=0.0) > 0.0
    assert allowance.take("p3", other, now=0.0) == 0.0


def test_a_full_table_makes_strangers_wait_and_forgets_nobody_early() -> None:
    buckets = Buckets(rate=1.0, burst=1, keys_max=2)
    for key in "ab":
        buckets.take(key, now=0.0)
    assert buckets.wait_seconds("c", now=0.5) == pytest.approx(0.5)
    assert buckets.wait_seconds("a", now=0.5) == pytest.approx(0.5)
    assert buckets.wait_seconds("c", now=1.0) == 0.0
