import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey_core.peers import peer_id_of
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.protocol.reach_table import Question, ReachTable, Server

ADDR = DirectAddr("203.0.114.5", "tcp", 4001)
SERVERS = tuple(Server(peer_id_of(bytes([number] * 32)), f"203.0.115.{number}") for number in range(4))


def table(*addrs: DirectAddr) -> ReachTable:
    found = ReachTable()
    found.offer(addrs or (ADDR,), now=0)
    return found


def ask(it: ReachTable, answers: dict[str, bool | None], *, now: float = 0, servers=SERVERS) -> list[Server]:
    """Ask whatever is due, each server answering as `answers` says; returns who was asked."""
    asked = []
    while (question := it.next_question(servers, now=now)) is not None:
        asked.append(question.server)
        said = answers[question.server.ip]
        it.answered(question, servers, reachable=said, reason="" if said else "no", now=now)
    return asked


def says(*answers: bool | None) -> dict[str, bool | None]:
    return {server.ip: answer for server, answer in zip(SERVERS, answers, strict=False)}


def believed(it: ReachTable) -> bool | None:
    (one,) = it.addrs()
    return one.reachable


@pytest.mark.parametrize(
    ("answers", "count", "reachable"),
    [
        ((True, True), 2, True),
        ((False, False), 2, False),
        ((True, False, True), 3, True),
        ((True, False, False), 3, False),
        ((None, True, True), 3, True),
        ((None, None, True, False), 4, None),
        ((None, None, None, None), 4, None),
    ],
)
def test_two_servers_must_agree_and_a_third_decides(answers, count, reachable):
    it = table()
    assert len(ask(it, says(*answers))) == count
    assert believed(it) is reachable


def test_one_server_alone_is_believed_for_the_time_being():
    it = table()
    ask(it, says(True), servers=SERVERS[:1])
    assert believed(it) is True
    assert it.addrs()[0].reason == "by the word of one server"
    assert [one.ip for one in ask(it, says(True, True), now=1, servers=SERVERS[:2])] == [SERVERS[1].ip]


def test_servers_behind_different_ips_are_preferred():
    same = Server(SERVERS[1].peer, SERVERS[0].ip)
    it = table()
    asked = [it.next_question((SERVERS[0], same, SERVERS[2]), now=0) for _ in range(2)]
    assert [one and one.server for one in asked] == [SERVERS[0], SERVERS[2]]


def test_what_is_known_is_tested_again_after_half_an_hour_and_what_is_not_after_five_minutes():
    for answers, pause in (
        (says(True, True), limits.REACH_KNOWN_SECONDS),
        (says(None, None), limits.REACH_UNKNOWN_SECONDS),
    ):
        it = table()
        ask(it, answers, servers=SERVERS[:2])
        assert it.next_question(SERVERS[:2], now=pause - 1) is None
        assert it.next_question(SERVERS[:2], now=pause) is not None


def test_another_network_is_tested_at_once():
    it = table()
    ask(it, says(True, True))
    it.test_again(now=100)
    assert len(ask(it, says(False, False), now=100)) == 2
    assert believed(it) is False


def test_silence_and_a_draw_leave_what_was_believed():
    it = table()
    ask(it, says(True, True))
    ask(it, says(None, None), now=limits.REACH_KNOWN_SECONDS, servers=SERVERS[:2])
    assert believed(it) is True
    ask(it, says(True, False), now=2 * limits.REACH_KNOWN_SECONDS, servers=SERVERS[:2])
    assert believed(it) is True
    assert it.addrs()[0].reason == "1 of 2 servers could connect"


def test_a_server_that_has_no_time_is_left_alone_for_a_while():
    it = table()
    it.avoid(SERVERS[0].peer, now=0)
    assert it.next_question(SERVERS[:1], now=limits.REACH_REJECTED_SECONDS - 1) is None
    assert it.next_question(SERVERS[:1], now=limits.REACH_REJECTED_SECONDS) is not None


def test_an_address_that_nobody_sees_any_more_goes_after_a_while():
    it = table()
    ask(it, says(True, True))
    assert not it.offer((), now=limits.REACH_GONE_SECONDS - 1)
    assert it.reachable() == (ADDR,)
    assert it.offer((), now=limits.REACH_GONE_SECONDS)
    assert it.addrs() == ()


def test_an_answer_about_an_address_that_has_gone_is_nothing():
    it = table()
    question = it.next_question(SERVERS, now=0)
    assert question is not None
    it.offer((), now=limits.REACH_GONE_SECONDS)
    assert not it.answered(question, SERVERS, reachable=True, reason="", now=limits.REACH_GONE_SECONDS)
    assert it.addrs() == ()


def test_new_addresses_take_the_place_of_old_ones():
    it, many = table(), [DirectAddr("203.0.114.6", "tcp", port) for port in range(1, limits.REACH_ADDRS_MAX + 5)]
    it.offer(many, now=1)
    assert [one.addr for one in it.addrs()] == [str(addr) for addr in many[: limits.REACH_ADDRS_MAX]]


@given(st.lists(st.sampled_from([True, False, None]), min_size=4, max_size=4))
def test_no_answer_of_one_server_outweighs_two_others(answers):
    it = table()
    ask(it, says(*answers))
    yes, no = answers.count(True), answers.count(False)
    if believed(it) is True:
        assert yes >= 1
        assert yes + no == 1 or yes >= 2
    elif believed(it) is False:
        assert no >= 1
        assert yes + no == 1 or no >= 2


class Asking(RuleBasedStateMachine):
    """Any order of looks, questions, answers and waits keeps to the bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table = ReachTable()
        self.open: list[Question] = []
        self.asked: list[tuple[float, Question]] = []

    @rule(ports=st.sets(st.integers(1, 12), max_size=10))
    def offer(self, ports: set[int]) -> None:
        self.table.offer([DirectAddr("203.0.114.5", "tcp", port) for port in sorted(ports)], now=self.now)
        known = {one.addr for one in self.table.addrs()}
        self.open = [question for question in self.open if str(question.target) in known]

    @rule(seconds=st.one_of(st.floats(0, 30), st.floats(300, 4000)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 4))
    def next_question(self, count: int) -> None:
        question = self.table.next_question(SERVERS[:count], now=self.now)
        if question is not None:
            assert question not in self.open
            self.open.append(question)
            self.asked.append((self.now, question))

    @precondition(lambda self: self.open)
    @rule(reachable=st.sampled_from([True, False, None]), data=st.data())
    def answer(self, reachable: bool | None, data: st.DataObject) -> None:
        question = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.table.answered(question, SERVERS, reachable=reachable, reason="", now=self.now)

    @rule()
    def again(self) -> None:
        self.table.test_again(now=self.now)

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.table.addrs()) <= limits.REACH_ADDRS_MAX
        for server in SERVERS:
            recent = [1 for at, question in self.asked if question.server == server and self.now - at < 60]
            assert len(recent) <= limits.REACH_ASKED_PER_MINUTE
        for one in self.table.addrs():
            assert one.reachable is None or one.checked_at is not None


TestAsking = Asking.TestCase
TestAsking.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
