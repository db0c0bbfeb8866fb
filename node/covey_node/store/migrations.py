"""Bringing a database of an older version to the current one.

Owns: the numbered steps and `user_version`. Each step is one transaction: it is done whole or not at all, and a process
that dies in one starts it again. Spec: docs/spec/store.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from covey_node.store import schema, schema_ahead, schema_contact_queues, schema_deposits, schema_queues
from covey_node.store.errors import NewerDatabase

if TYPE_CHECKING:
    from covey_node.store.connection import Connection
    from covey_node.store.tx import Tx

Step = Callable[["Tx"], None]


def script(text: str) -> Step:
    """Return a step that runs the statements of `text`, which are separated by a semicolon at a line's end."""

    def run(tx: Tx) -> None:
        for statement in text.split(";\n"):
            if statement.strip():
                tx.execute(statement)

    return run


STEPS: Final[tuple[Step, ...]] = (
    script(schema.STEP_1),
    script(schema_queues.STEP_2),
    schema_deposits.step_3,
    script(schema_contact_queues.STEP_4),
    script(schema_ahead.STEP_5),
)
"""Step n (from 1) leads from version n - 1 to version n."""


def migrate(connection: Connection, steps: Sequence[Step] = STEPS) -> int:
    """Run the steps that the database has not seen; return the version it has now.

    Raises `NewerDatabase` when the database knows more steps than we do.
    """
    version = connection.read(lambda tx: tx.number("PRAGMA user_version"))
    if version > len(steps):
        raise NewerDatabase(path=connection.path, version=version, known=len(steps))
    for number, step in enumerate(steps[version:], start=version + 1):
        connection.run(_numbered(step, number))
    return len(steps)


def _numbered(step: Step, number: int) -> Step:
    def run(tx: Tx) -> None:
        step(tx)
        tx.execute(f"PRAGMA user_version = {number:d}")  # a PRAGMA takes no parameters; `number` counts our own steps

    return run
