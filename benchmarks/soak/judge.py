"""What must hold of all that two people were told while everything around them was killed.

Owns: who was promised what, and what is wrong with it. No process, no database, no clock: it is told what was seen, in
the order in which it was seen. Specs: docs/spec/delivery.md, docs/spec/mailbox.md.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

RANK = {"queued": 0, "sent": 1, "stored": 2, "delivered": 3, "read": 4}
STORED, DELIVERED = RANK["stored"], RANK["delivered"]
SHOWN_PROBLEMS = 20


def text_of(name: str, number: int) -> str:
    """The text of one message: whoever has it sees whose it is, which, and that it is whole."""
    head = f"{name} {number}"
    return f"{head} {hashlib.sha256(head.encode()).hexdigest()[:32]}"


def number_of(text: str, name: str) -> int | None:
    """The number of a text of `name`; None for any other text."""
    words = text.split(" ")
    number = int(words[1]) if len(words) == 3 and words[1].isdecimal() else -1
    return number if number >= 0 and text == text_of(name, number) else None


@dataclass
class Said:
    """What one person said to the other."""

    name: str
    status: dict[int, int] = field(default_factory=dict)
    """The best that was told of each number; here from the moment at which it was durable."""
    shown: set[int] = field(default_factory=set)
    """The numbers that the other one has."""

    def at_least(self, rank: int) -> frozenset[int]:
        """The numbers of which that was told."""
        return frozenset(number for number, told in self.status.items() if told >= rank)


class Judge:
    """Hears what happens and notes what must not."""

    def __init__(self, *names: str) -> None:
        self.said = {name: Said(name) for name in names}
        self.problems: list[str] = []

    def queued(self, name: str, number: int) -> None:
        """`send` returned: from now on it may not be lost."""
        self.said[name].status.setdefault(number, 0)

    def told(self, name: str, number: int, status: str) -> None:
        """The sender's node says how far a message is."""
        if status not in RANK:
            self.wrong(f"{name} {number} became {status}")
            return
        before = self.said[name].status.get(number, 0)
        if RANK[status] < before:
            self.wrong(f"{name} {number} went back from rank {before} to {status}")
        self.said[name].status[number] = max(before, RANK[status])

    def sender_has(self, name: str, rows: Iterable[tuple[str, str]]) -> None:
        """The sender's whole database: text and status of what went out."""
        found: Counter[int] = Counter()
        for text, status in rows:
            number = number_of(text, name)
            if number is None:
                self.wrong(f"{name} has an outgoing text that nobody wrote: {text!r}")
                continue
            found[number] += 1
            self.told(name, number, status)
        self._once(f"outgoing at {name}", found)
        self._no_longer(f"{name} was told that it is queued, and has not", self.said[name].status.keys() - found.keys())

    def receiver_has(self, name: str, texts: Iterable[str]) -> None:
        """The receiver's whole database: the texts of `name` that came in, at a time when `name` was not there."""
        said = self.said[name]
        found: Counter[int] = Counter()
        for text in texts:
            number = number_of(text, name)
            if number is None or number not in said.status:
                self.wrong(f"shown, but {name} never wrote it: {text!r}")
                continue
            found[number] += 1
        self._once(f"shown of {name}", found)
        self._no_longer(f"shown once and gone, of {name}", said.shown - found.keys())
        said.shown |= found.keys()
        self._no_longer(f"said to be delivered, and not there, of {name}", said.at_least(DELIVERED) - said.shown)

    def end(self) -> None:
        """All is over and had its time: everything was shown, and everybody knows."""
        for name, said in self.said.items():
            self._no_longer(f"lost, of {name}", said.status.keys() - said.shown)
            self._no_longer(f"shown but not known as delivered, of {name}", said.shown - said.at_least(DELIVERED))

    def wrong(self, problem: str) -> None:
        """Note a problem."""
        self.problems.append(problem)

    def _once(self, where: str, found: Counter[int]) -> None:
        twice = [number for number, count in found.items() if count > 1]
        self._no_longer(f"twice, {where}", twice)

    def _no_longer(self, what: str, numbers: Iterable[int]) -> None:
        some = sorted(numbers)
        if some:
            self.wrong(f"{what}: {len(some)}, the first are {some[:SHOWN_PROBLEMS]}")
