"""`python -m benchmarks.soak --messages N --seconds S`: two people, one of them there at a time, and random kills.

Owns: who comes when, who is killed when, the end. Alice and bob take turns; each visit writes some texts, and ends with
SIGKILL at a random moment or, at rest, in good order. Meanwhile relays are killed and start again. Nothing is mocked:
relays and nodes are forked processes with their databases on disk, sockets are on loopback; only the relays' allowance
for forwarding is raised. What is checked: judge.py. The last line is a JSON object; exit code 1 when anything was
wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.report import load
from benchmarks.soak.judge import STORED, Judge, number_of
from benchmarks.soak.person import NAMES, Task, meet, visit
from benchmarks.soak.processes import Child, Failed, Relays, run_async
from tests.support.crashes import free_port

OPERATORS = ("ann", "ben", "cat")
REST_SECONDS = 150.0
"""A visit that nobody kills comes to rest within this; otherwise something hangs."""
CALM_SECONDS = 10.0
"""After so long in one visit no more relays are killed, so that it can come to rest."""
DEADLY_SECONDS = 4.0
"""Somebody who is to be killed is so within this after his start; a visit takes 3 to 8 s."""
RELAY_LIVES_SECONDS = 6.0
"""One relay is killed each so many seconds on average, of visits that are not calm."""
LAST_VISITS = 8
TICK_SECONDS = 0.05


class Soak:
    """One run."""

    def __init__(self, folder: Path, *, messages: int, seconds: float, burst: int, seed: int) -> None:
        self._folder = folder
        self._goal = messages
        self._deadline = time.monotonic() + seconds
        self._burst = burst
        self._random = random.Random(seed)
        self._relays = Relays(folder, {name: (free_port(), free_port()) for name in OPERATORS})
        self._back: dict[str, float] = {}
        self._next_death = 0.0
        self._answered: dict[str, frozenset[int]] = dict.fromkeys(NAMES, frozenset())
        self.judge = Judge(*NAMES)
        self.deaths = {"relays": 0, "nodes": 0}
        self.visits = 0

    def run(self) -> None:
        """Meet, write and be killed, then come to rest undisturbed."""
        try:
            for name in OPERATORS:
                self._relays.start(name)
            self._relays.await_ready()
            meeting = run_async(partial(meet, self._folder, self._relays.network, len(OPERATORS)))
            child = Child(meeting, self._folder / "meet.log")
            if child.wait(2 * REST_SECONDS) != 0:
                raise Failed(f"they did not meet: {child.words}")
            begun = time.monotonic()
            while not self._over():
                self._one(NAMES[self.visits % 2], deadly=self._random.random() < 0.5)
                self._report(begun)
            for _ in range(LAST_VISITS):
                self._one(NAMES[self.visits % 2], deadly=False, calm=True)
                if self._all_known():
                    break
            self.judge.end()
        finally:
            self._relays.end()

    @property
    def durable(self) -> int:
        """How many messages were queued."""
        return sum(len(said.status) for said in self.judge.said.values())

    def _over(self) -> bool:
        return bool(self.durable >= self._goal or time.monotonic() >= self._deadline or self.judge.problems)

    def _all_known(self) -> bool:
        return all(said.status.keys() == said.at_least(STORED + 1) for said in self.judge.said.values())

    def _one(self, me: str, *, deadly: bool, calm: bool = False) -> None:
        """One visit."""
        self.visits += 1
        them = NAMES[1 - NAMES.index(me)]
        first = len(self.judge.said[me].status)
        left = max(0, self._goal - self.durable)
        last = first if calm else first + min(left, self._random.randint(1, self._burst))
        task = Task(me, them, range(first, last), self.judge.said[them].at_least(STORED), self._answered[me])
        child = Child(
            run_async(partial(visit, self._folder, self._relays.network, task)), self._folder / f"{me}.log", speaks=True
        )
        begun = time.monotonic()
        fate = begun + (self._random.uniform(0.1, DEADLY_SECONDS) if deadly else REST_SECONDS)
        says, quiet = "", begun + 10
        while not child.is_over and time.monotonic() < fate:
            says = self._listen(child, task) or says
            if time.monotonic() > quiet:
                sys.stderr.write(f"  {me}: {says}; relays {self._relays.living}\n")
                quiet += 10
            self._tend(calm=calm or time.monotonic() > begun + CALM_SECONDS)
        ended = child.wait(CALM_SECONDS) if child.is_over else None
        if ended is None:
            child.kill()
            self.deaths["nodes"] += deadly
            while not child.is_over:
                self._listen(child, task)
        if ended is None and not deadly:
            raise Failed(f"{me} did not come to rest within {REST_SECONDS:.0f} s: {says}; {child.words}")
        if ended:
            raise Failed(f"{me} ended with {ended}: {child.words}")

    def _listen(self, child: Child, task: Task) -> str:
        """Hear what a person says next, if anything; return it in short."""
        me, them = task.me, task.them
        words = child.hear(TICK_SECONDS)
        match words:
            case "has", outgoing, incoming:
                self.judge.sender_has(me, outgoing)
                self.judge.receiver_has(them, incoming)
            case "queued", number:
                self.judge.queued(me, number)
            case "status", text, status:
                number = number_of(text, me)
                assert number is not None, text
                self.judge.told(me, number, status)
            case ("rests",):  # what was there before is answered, and lies at a quorum of mailboxes
                self._answered[them] |= self.judge.said[them].shown | task.expects
        return str(words)[:80] if words else ""

    def _tend(self, *, calm: bool) -> None:
        """Start relays whose time has come, and now and then kill one."""
        self._relays.look()
        now = time.monotonic()
        for name in [name for name, at in self._back.items() if at <= now or calm]:
            del self._back[name]
            self._relays.start(name)
        if not calm and self._relays.living and now >= self._next_death:
            self._next_death = now + self._random.expovariate(1 / RELAY_LIVES_SECONDS)
            name = self._random.choice(self._relays.living)
            self._relays.kill(name)
            self.deaths["relays"] += 1
            self._back[name] = now + self._random.uniform(0.2, 6)

    def _report(self, begun: float) -> None:
        taken = time.monotonic() - begun
        shown = sum(len(said.shown) for said in self.judge.said.values())
        sys.stderr.write(
            f"{taken:6.0f} s  visits {self.visits}  queued {self.durable}  shown {shown}  killed {self.deaths}  "
            f"{shown / taken:.0f} messages/s  {load()}\n"
        )


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the others end too
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600, help="then no more is written (default: an hour)")
    parser.add_argument("--burst", type=int, default=200, help="texts of one visit at most")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="covey-soak-"))
    begun = time.monotonic()
    soak = Soak(folder, messages=chosen.messages, seconds=chosen.seconds, burst=max(1, chosen.burst), seed=chosen.seed)
    try:
        soak.run()
    except Failed as exc:
        soak.judge.wrong(str(exc))
    problems = soak.judge.problems
    said = soak.judge.said.values()
    found = {
        "messages": soak.durable,
        "shown": sum(len(one.shown) for one in said),
        "seconds": round(time.monotonic() - begun, 1),
        "visits": soak.visits,
        "killed": soak.deaths,
        "seed": chosen.seed,
        "problems": problems,
    }
    if problems:
        sys.stderr.write(f"databases and logs are kept: {folder}\n")
    else:
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
