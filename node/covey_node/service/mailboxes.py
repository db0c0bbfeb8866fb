"""What of a node has to do with mailboxes, put together.

Owns: which parts there are and the tasks that they run as. Spec: docs/spec/mailbox.md. Never touches: what the parts
do; when mailboxes are switched off there is none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from covey_core.network import Network
from covey_node.net.mailbox import Isolation, MailboxClient

Task = tuple[str, Callable[[], Awaitable[object]]]


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """The parts that run. `client` asks relays for all of them; None when mailboxes are off."""

    client: MailboxClient | None = None

    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks of the parts, by name."""
        if self.client is None:
            return ()
        return (("mailboxes", self.client.run),)


def make_mailboxes(network: Network, *, on: bool, isolation: Isolation) -> Mailboxes:
    """Make the parts; nothing is asked of any relay before their tasks run."""
    if not on:
        return Mailboxes()
    return Mailboxes(MailboxClient(network, isolation=isolation))
