"""The table of paths against its rules: no path flaps, a silent death costs seconds, the budget is kept."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey_node import limits
from covey_node.protocol.path_facts import Drop, PathFacts, Probe, Punch, Renew, Wait
from covey_node.protocol.path_table import PathTable
from covey_node.protocol.paths import PathKind

TCP = PathFacts(1, PathKind.PUNCHED, "tcp")
LEG = PathFacts(2, PathKind.RELAYED, "relay-a", startable=True)
OTHER_LEG = PathFacts(3, PathKind.RELAYED, "relay-b", startable=True)


class Network:
    """Drives a table through time; paths in `alive` answer probes after `rtt`, others never do."""

    def __init__(self, rtt: float = 0.05) -> None:
        self.table = PathTable(lambda: 0.5)
        self.now = 1000.0
        self.rtt = rtt
        self.alive: set[int] = set()
        self.silent_since: dict[int, float] = {}
        self.standing: dict[int, PathFacts] = {}
        self.answers: list[tuple[float, int]] = []
        self.probes: list[tuple[float, int]] = []
        self.dropped: list[tuple[float, int]] = []
        self.punches: list[float] = []
        self.renewals: list[float] = []

    def open(self, facts: PathFacts, *, alive: bool = True) -> None:
        self.standing[facts.number] = facts
        if alive:
            self.alive.add(facts.number)
        else:
            self.fall_silent(facts.number)
        self.table.opened(facts, now=self.now)
        self.act()

    def fall_silent(self, number: int) -> None:
        self.alive.discard(number)
        self.silent_since[number] = self.now

    def close(self, number: int) -> None:
        del self.standing[number]
        self.alive.discard(number)
        self.table.closed(number, now=self.now)
        self.act()

    def act(self) -> float:
        """Do what the table says; returns until when it waits."""
        for _ in range(100):
            action = self.table.next(now=self.now)
            match action:
                case Probe(number):
                    self.table.probing(number, now=self.now)
                    self.probes.append((self.now, number))
                    if number in self.alive:
                        self.answers.append((self.now + self.rtt, number))
                case Drop(number):
                    self.dropped.append((self.now, number))
                    self.close(number)
                case Punch():
                    self.table.punching()
                    self.punches.append(self.now)
                    self.table.punched(now=self.now)
                case Renew(number):
                    self.renewals.append(self.now)
                    self.table.renewing(number, now=self.now)
                case Wait(until):
                    assert until > self.now
                    return until
        raise AssertionError("the table never waits")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            until = self.act()
            answers = [at for at, _ in self.answers]
            at = min([until, *answers])
            if at > end:
                self.now = end
                return
            self.now = max(self.now, at)
            due = [item for item in self.answers if item[0] <= self.now]
            self.answers = [item for item in self.answers if item[0] > self.now]
            for _, number in due:
                if number in self.standing:
                    self.table.answered(number, self.rtt, now=self.now)

    def in_flight(self) -> None:
        self.table.in_flight(flag=True, now=self.now)


# --- a silent death -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [0.0, 0.5, 3.0, 59.5, 61.0, 500.0])
def test_a_silent_death_costs_twelve_seconds_at_most_from_the_first_packet(quiet: float) -> None:
    net = Network()
    net.open(LEG)
    net.open(TCP)
    net.run(1)
    assert net.table.used == TCP.number
    net.run(quiet)
    net.alive.discard(TCP.number)
    began = net.now
    net.in_flight()
    net.run(12)
    assert net.table.used == LEG.number
    assert net.dropped[0][1] == TCP.number
    assert net.dropped[0][0] - began <= 11


def test_while_acknowledgements_come_nobody_is_probed() -> None:
    net = Network()
    net.open(TCP)
    net.run(1)
    before = len(net.probes)
    for _ in range(500):
        net.in_flight()
        net.run(0.1)
        net.table.progressed(TCP.number, now=net.now)
        net.table.in_flight(flag=False, now=net.now)
    assert len(net.probes) == before


def test_a_packet_that_waits_for_a_second_asks_the_path_at_once_and_then_every_five() -> None:
    net = Network()
    net.open(TCP)
    net.run(20)
    net.probes.clear()
    began = net.now
    net.in_flight()
    net.run(16.5)
    assert [round(at - began, 1) for at, _ in net.probes] == [1, 6, 11, 16]


def test_an_idle_path_is_asked_once_a_minute() -> None:
    net = Network()
    net.open(LEG)
    net.open(TCP)
    net.run(1)
    net.probes.clear()
    net.run(3600)
    for number in (TCP.number, LEG.number):
        assert 58 <= sum(1 for _, one in net.probes if one == number) <= 61


def test_an_acknowledgement_saves_a_path_whose_probes_are_stuck_behind_much_data() -> None:
    net = Network()
    net.open(TCP, alive=False)
    for _ in range(30):
        net.in_flight()
        net.run(2)
        net.table.progressed(TCP.number, now=net.now)
    assert not net.dropped


def test_an_answer_that_comes_late_but_before_the_second_miss_counts() -> None:
    net = Network(rtt=4.5)
    net.open(TCP)
    net.run(600)
    assert not net.dropped


def test_a_first_miss_asks_the_other_paths_and_the_one_that_answers_takes_over() -> None:
    net = Network()
    for facts in (TCP, LEG, OTHER_LEG):
        net.open(facts)
    net.run(30)
    net.alive -= {TCP.number, LEG.number}
    net.in_flight()
    net.run(12)
    assert net.table.used == OTHER_LEG.number


def test_of_two_direct_paths_that_die_together_the_second_is_not_tried_before_the_circuit_that_answers() -> None:
    net = Network()
    for facts in (PathFacts(5, PathKind.PUNCHED, "quic"), LEG, TCP):
        net.open(facts)
    net.run(30)
    assert net.table.used == TCP.number
    net.alive -= {5, TCP.number}
    net.in_flight()
    net.run(12)
    assert net.table.used == LEG.number
    net.run(60)
    assert (net.table.used, net.table.switches) == (LEG.number, 3)


# --- hysteresis ---------------------------------------------------------------------------------------------------


def test_a_better_path_is_taken_up_only_when_it_has_answered() -> None:
    net = Network(rtt=0.2)
    net.open(LEG)
    assert net.table.used == LEG.number
    net.run(5)
    net.open(TCP)
    net.run(0.1)
    assert net.table.used == LEG.number
    net.run(0.2)
    assert net.table.used == TCP.number


def test_a_better_path_that_never_answers_is_never_used() -> None:
    net = Network()
    net.open(LEG)
    net.run(5)
    net.open(TCP, alive=False)
    net.run(600)
    assert net.table.switches == 1
    assert net.table.used == LEG.number


def test_a_kind_that_failed_waits_longer_each_time() -> None:
    net, waits = Network(), []
    net.open(LEG)
    net.run(1)
    for number in range(10, 18):
        net.open(PathFacts(number, PathKind.PUNCHED, "tcp"))
        began = net.now
        while net.table.used != number:
            net.run(1)
        waits.append(net.now - began)
        net.close(number)
        assert net.table.used == LEG.number
    assert waits[0] <= 1
    assert waits == sorted(waits)
    assert waits[-1] >= limits.PATH_PUNISHED_SECONDS_MAX
    assert net.table.switches <= 2 * len(waits) + 1


def test_failures_are_forgotten_when_a_path_has_lasted() -> None:
    net = Network()
    net.open(LEG)
    net.run(1)
    net.open(TCP)
    net.run(1)
    net.close(TCP.number)
    net.open(PathFacts(11, PathKind.PUNCHED, "tcp"))
    net.run(limits.PATH_PUNISHED_SECONDS_MIN + 1)
    assert net.table.used == 11
    net.run(limits.PATH_FORGIVEN_SECONDS + 1)
    assert net.table.view(now=net.now)[0].failures == 0


def test_a_path_has_lasted_at_the_moment_that_the_table_itself_named_however_floats_round() -> None:
    since = 1000.1
    due = since + limits.PATH_FORGIVEN_SECONDS
    assert due - since < limits.PATH_FORGIVEN_SECONDS, "these floats do not round: choose others"
    table = PathTable(lambda: 0.5)
    for facts in (LEG, TCP):
        table.opened(facts, now=900)
        table.answered(facts.number, 0.05, now=901)
    table.closed(TCP.number, now=902)
    table.opened(PathFacts(11, PathKind.PUNCHED, "tcp"), now=903)
    table.closed(LEG.number, now=since)
    assert (table.used, table.view(now=since)[0].failures) == (11, 1)
    table.answered(11, 0.05, now=due - 1)
    assert table.next(now=due - 1) == Wait(due)
    action = table.next(now=due)
    assert isinstance(action, Wait)
    assert action.until > due, "the table waits for now"
    assert table.view(now=due)[0].failures == 0


def test_a_path_that_was_replaced_by_one_of_its_class_did_not_fail() -> None:
    net = Network()
    net.open(PathFacts(5, PathKind.PUNCHED, "quic"))
    net.run(1)
    net.open(LEG)
    net.open(TCP)
    net.run(1)
    assert net.table.used == TCP.number
    net.open(PathFacts(6, PathKind.PUNCHED, "tcp"))
    net.run(1)
    net.close(TCP.number)
    assert net.table.used in {5, 6}
    assert all(not view.failures for view in net.table.view(now=net.now))


def test_the_lan_is_better_than_a_hole_and_tcp_better_than_quic() -> None:
    net = Network()
    for number, (kind, via) in enumerate(
        [(PathKind.RELAYED, "r"), (PathKind.PUNCHED, "quic"), (PathKind.PUBLIC, "tcp"), (PathKind.LAN, "tcp")], 20
    ):
        net.open(PathFacts(number, kind, via))
        net.run(1)
        assert net.table.used == number


# --- circuits and punches -----------------------------------------------------------------------------------------


def _circuit(number: int, **more: float) -> PathFacts:
    return PathFacts(number, PathKind.RELAYED, "relay-a", **more)  # type: ignore[arg-type]


def test_a_circuit_is_renewed_before_its_time_is_over_and_the_new_one_used() -> None:
    net = Network()
    net.open(_circuit(1, lasts_seconds=7200.0))
    net.run(7200 * limits.CIRCUIT_RENEW_SHARE - 1)
    assert not net.renewals
    net.run(2)
    assert len(net.renewals) == 1
    net.open(_circuit(2, lasts_seconds=7200.0))
    net.run(1)
    assert net.table.used == 2
    net.run(600)
    assert len(net.renewals) == 1


def test_a_circuit_is_renewed_before_its_bytes_are_used_up() -> None:
    net = Network()
    net.open(_circuit(1, carries_bytes=1000.0))
    assert not net.table.carried(1, 799, now=net.now)
    net.act()
    assert not net.renewals
    assert net.table.carried(1, 1, now=net.now)
    net.act()
    assert net.renewals


def test_a_circuit_beside_a_direct_path_is_left_to_end() -> None:
    net = Network()
    net.open(_circuit(1, lasts_seconds=100.0))
    net.open(PathFacts(2, PathKind.LAN, "tcp"))
    net.run(100)
    assert not net.renewals


def test_punches_are_tried_again_ever_more_seldom() -> None:
    net = Network()
    net.open(LEG)
    net.run(6 * 3600)
    gaps = [later - earlier for earlier, later in pairwise(net.punches)]
    assert gaps == sorted(gaps)
    assert 15 <= net.punches[0] - 1000 <= 30
    assert max(gaps) <= limits.PUNCH_AGAIN_SECONDS_MAX
    assert gaps[-1] >= limits.PUNCH_AGAIN_SECONDS_MAX / 2


def test_a_direct_path_that_had_worked_is_punched_anew_at_once_when_it_dies() -> None:
    net = Network()
    net.open(LEG)
    net.open(TCP)
    net.run(limits.PUNCH_LASTED_SECONDS + 1)
    assert not net.punches
    net.close(TCP.number)
    assert net.punches == [net.now]


def test_a_direct_path_that_dies_as_soon_as_it_is_there_is_not_punched_at_once() -> None:
    net = Network()
    net.open(LEG)
    net.open(TCP)
    net.run(5)
    net.close(TCP.number)
    assert not net.punches
    net.run(limits.PUNCH_AGAIN_SECONDS_MIN)
    assert net.punches


def test_who_dialed_the_circuit_leaves_the_punch_to_the_other() -> None:
    net = Network()
    net.open(_circuit(1))
    net.run(3600)
    assert not net.punches


def test_a_change_of_network_asks_every_path_forgives_and_punches_soon() -> None:
    net = Network()
    net.open(LEG)
    net.run(1000)
    net.probes.clear()
    net.punches.clear()
    net.table.network_changed(now=net.now)
    net.act()
    assert [number for _, number in net.probes] == [LEG.number]
    net.run(limits.PUNCH_SETTLE_SECONDS)
    assert len(net.punches) == 1


def test_one_who_writes_over_a_relay_makes_us_ask_the_direct_path() -> None:
    net = Network()
    net.open(LEG)
    net.open(TCP)
    net.run(20)
    net.probes.clear()
    net.table.doubted(now=net.now)
    net.act()
    assert net.probes == [(net.now, TCP.number)]


# --- whatever happens ---------------------------------------------------------------------------------------------

KINDS = [
    (PathKind.LAN, "tcp"),
    (PathKind.PUBLIC, "tcp"),
    (PathKind.PUNCHED, "tcp"),
    (PathKind.PUNCHED, "quic"),
    (PathKind.RELAYED, "relay-a"),
    (PathKind.RELAYED, "relay-b"),
]
DIRECT = KINDS[:4]
RELAYED = KINDS[4]
QUESTION_SECONDS = limits.PATH_FIRST_MISS_SECONDS + limits.PATH_SECOND_MISS_SECONDS


class PathMachine(RuleBasedStateMachine):
    """Paths come, go, fall silent and speak again, packets wait and are answered, time passes.

    Beside these, some rules play through what random steps come to too seldom: each probe of the table is needed by one
    of them, whatever happened before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = Network()
        self.number = 0
        self.lost_at: dict[str, list[float]] = {}
        self.taken: list[tuple[float, str]] = []
        self.began = self.net.now
        self.waiting_since = math.inf
        self.ended = 0
        self.network_changes = 0

    @rule(kind=st.sampled_from(KINDS), alive=st.booleans())
    def a_connection_comes(self, kind: tuple[PathKind, str], alive: bool) -> None:
        if len(self.net.standing) < 6:
            self.number += 1
            self.net.open(PathFacts(self.number, *kind, startable=True), alive=alive)

    @precondition(lambda self: self.net.standing)
    @rule(data=st.data())
    def one_ends(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.net.standing)))
        self.ended += 1
        self.net.close(number)

    @precondition(lambda self: self.net.standing)
    @rule(data=st.data(), alive=st.booleans())
    def one_falls_silent_or_speaks_again(self, data: st.DataObject, alive: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.net.standing)))
        if alive:
            self.net.alive.add(number)
        elif number in self.net.alive:
            self.net.fall_silent(number)

    @rule()
    def a_packet_is_written(self) -> None:
        self.net.in_flight()
        self.waiting_since = min(self.waiting_since, self.net.now)

    @rule()
    def it_is_answered_if_it_can_be(self) -> None:
        used = self.net.table.used
        if used in self.net.alive and used is not None:
            self.net.table.progressed(used, now=self.net.now)
            self.net.table.in_flight(flag=False, now=self.net.now)
            self.waiting_since = math.inf

    @rule()
    def the_network_changes(self) -> None:
        self.network_changes += 1
        self.net.table.network_changed(now=self.net.now)
        self.net.act()
        asked = {number for at, number in self.net.probes if at > self.net.now - QUESTION_SECONDS}
        assert asked >= self.net.standing.keys(), "a path was not asked"

    @precondition(lambda self: self.net.standing)
    @rule(waited=st.sampled_from([0.0, 0.5, 2.0, 7.0]), data=st.data())
    def all_paths_but_one_fall_silent_under_a_packet(self, waited: float, data: st.DataObject) -> None:
        for kind in (RELAYED, *DIRECT)[: max(0, 3 - len(self.net.alive))]:
            self._comes(kind)
        self.time_passes(QUESTION_SECONDS + 1)  # all questions to paths that spoke again meanwhile are over
        used = self.net.table.used
        if used is None or used not in self.net.alive:
            return
        others = sorted(self.net.alive - {used})
        survivors = {data.draw(st.sampled_from(others))} if others else set()
        self._fall_silent(set(others) - survivors)
        self.time_passes(2)  # no answer of theirs is fresh when they are needed
        self.a_packet_is_written()
        self.time_passes(waited)
        self._fall_silent({used})
        self.time_passes(11.5)
        assert self.net.table.used != used, "a silent path is still used"
        assert self.net.table.used in survivors or not survivors, "a silent path was chosen, another lives"

    def _fall_silent(self, numbers: set[int]) -> None:
        for number in numbers:
            self.net.fall_silent(number)

    @rule(kind=st.sampled_from(DIRECT))
    def a_direct_path_fails_and_comes_again(self, kind: tuple[PathKind, str]) -> None:
        if not any(facts.relayed for facts in self.net.standing.values()):
            self._comes(RELAYED)
        for number in [number for number, facts in self.net.standing.items() if not facts.relayed]:
            self.ended += 1
            self.net.close(number)
        failing = self._comes(kind)
        self.time_passes(1)
        self.ended += 1
        self.net.close(failing)
        again = self._comes(kind)
        (punished,) = (view.punished_seconds for view in self.net.table.view(now=self.net.now) if view.number == again)
        self.time_passes(punished + limits.PATH_PROBE_SECONDS + 1)
        assert self.net.table.used == again, "a better path that answers is not used"

    def _comes(self, kind: tuple[PathKind, str]) -> int:
        self.number += 1
        self.net.open(PathFacts(self.number, *kind, startable=True))
        return self.number

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 100), st.floats(0, 2000)))
    def time_passes(self, seconds: float) -> None:
        end = self.net.now + seconds
        while self.net.now < end:
            before = self._used_kind()
            self.net.run(min(0.5, end - self.net.now) if seconds < 60 else min(5.0, end - self.net.now))
            self._note(before)

    def _used_kind(self) -> tuple[int, PathFacts] | None:
        used = self.net.table.used
        return None if used is None or used not in self.net.standing else (used, self.net.standing[used])

    def _note(self, before: tuple[int, PathFacts] | None) -> None:
        after = self._used_kind()
        if before and after and before[0] != after[0] and before[0] in self.net.standing:
            self.taken.append((self.net.now, after[1].key))

    @invariant()
    def what_is_used_stands_and_something_is_used_if_anything_stands(self) -> None:
        used = self.net.table.used
        assert used is None or used in self.net.standing
        assert used is not None or not self.net.standing

    @invariant()
    def switches_are_paid_for_by_deaths_and_newcomers(self) -> None:
        deaths = self.ended + len(self.net.dropped)
        assert self.net.table.switches <= self.number + 2 * deaths + self.network_changes + 1

    @invariant()
    def probes_keep_to_the_budget(self) -> None:
        minutes = (self.net.now - self.began) / 60 + 1
        opened = self.number + self.network_changes * 6
        assert len(self.net.probes) <= minutes * 6 * 12 * 2 + opened * 3 + 60

    @invariant()
    def no_silent_path_stands_longer_than_a_minute_and_two_misses(self) -> None:
        for number in self.net.standing.keys() - self.net.alive:
            silent = self.net.now - self.net.silent_since[number]
            assert silent <= limits.PATH_PROBE_IDLE_SECONDS + QUESTION_SECONDS + 1

    @invariant()
    def a_dead_path_is_left_within_eleven_seconds_of_a_packet(self) -> None:
        table = self.net.table
        used = table.used
        if used is not None and used not in self.net.alive and self.waiting_since < math.inf:
            since = max(self.waiting_since, table._used_since, self.net.silent_since[used])
            assert self.net.now - since <= 11 + 5.5


TestPaths = PathMachine.TestCase
TestPaths.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "open silent", "close", "silence", "packet"]), st.floats(0.1, 40)),
        max_size=120,
    )
)
@settings(max_examples=80, deadline=None)
def test_a_kind_of_path_that_keeps_failing_is_taken_up_seven_times_in_ten_minutes_at_most(
    events: list[tuple[str, float]],
) -> None:
    net, number, taken = Network(), 100, 0
    net.open(LEG)
    began = net.now
    for what, seconds in events:
        direct = [one for one in net.standing if one != LEG.number]
        if what.startswith("open") and len(direct) < 2:
            number += 1
            net.open(PathFacts(number, PathKind.PUNCHED, "tcp"), alive=what == "open")
        elif what == "close" and direct:
            net.close(direct[0])
        elif what == "silence":
            net.alive.discard(direct[0] if direct else 0)
        elif what == "packet":
            net.in_flight()
        end = net.now + seconds
        while net.now < end:
            on_leg = net.table.used == LEG.number
            net.run(min(0.25, end - net.now))
            taken += on_leg and net.table.used != LEG.number
    assert taken <= 7 * (1 + (net.now - began) / limits.PATH_FORGIVEN_SECONDS)
