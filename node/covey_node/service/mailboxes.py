"""What of a node has to do with mailboxes, put together.

Owns: which parts there are and the tasks that they run as. Spec: docs/spec/mailbox.md. Never touches: what the parts
do; when mailboxes are switched off there is none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from covey_core.host import Host
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_node.metrics import RatchetReject
from covey_node.net.mailbox import Isolation, MailboxClient
from covey_node.service.collect_making import Parts
from covey_node.service.collect_use import ContactUse, Use
from covey_node.service.collecting import Collecting
from covey_node.service.contact_queues import ContactQueues
from covey_node.service.depositing import Depositing
from covey_node.service.incoming import Incoming
from covey_node.service.ledger import Ledger
from covey_node.service.naming import relay_name
from covey_node.service.newcomer import Newcomer
from covey_node.service.own import Own
from covey_node.service.profiles import Profiles
from covey_node.store.queues import Purpose

Task = tuple[str, Callable[[], Awaitable[object]]]


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """The parts that run. `client` asks relays for all of them; all but `profiles` are None when mailboxes are off."""

    profiles: Profiles
    client: MailboxClient | None = None
    collecting: Collecting | None = None
    contact_queues: ContactQueues | None = None
    newcomer: Newcomer | None = None
    depositing: Depositing | None = None

    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks of the parts, by name."""
        parts = (
            ("mailboxes", self.client),
            ("collecting", self.collecting),
            ("contact_queues", self.contact_queues),
            ("newcomer", self.newcomer),
            ("depositing", self.depositing),
            ("profiles", self.profiles),
        )
        return tuple((name, part.run) for name, part in parts if part is not None)

    def hear_of_change(self) -> tuple[Callable[[], None], ...]:
        """Return what is to be told when our network is another one."""
        if self.client is None or self.collecting is None:
            return ()
        parts = (self.client, self.collecting, self.depositing)
        return tuple(part.network_changed for part in parts if part is not None)


def make_mailboxes(
    network: Network,
    *,
    on: bool,
    isolation: Isolation,
    ledger: Ledger,
    own: Own,
    incoming: Incoming,
    host: Host,
    path_stands: Callable[[PeerId], bool],
    on_call: Callable[[str, str], None] = lambda _command, _outcome: None,
    rejected: Callable[[RatchetReject], None] = lambda _reason: None,
) -> Mailboxes:
    """Make the parts; nothing is asked of any relay before their tasks run.

    `path_stands`: whether a device is connected to us now. `on_call` hears of each call: its command and
    its outcome; `rejected` why something from a mailbox was not opened.
    """
    if not on:
        return Mailboxes(Profiles(ledger, own, network, None))
    client = MailboxClient(network, isolation=isolation, on_call=on_call)
    contact_queues = ContactQueues(ledger, own, client, incoming)
    uses: dict[Purpose, Use] = {
        Purpose.CONTACT: ContactUse(own, incoming),
        Purpose.INVITES: contact_queues,
        Purpose.OPEN: contact_queues,
    }
    collecting = Collecting(
        Parts(ledger, own, client, uses, rejected, isolated=isolation == "queue"), path_stands=path_stands
    )
    depositing = Depositing(ledger, own, host, client, name_of=partial(relay_name, network))
    newcomer, profiles = Newcomer(ledger, own, client), Profiles(ledger, own, network, contact_queues)
    return Mailboxes(profiles, client, collecting, contact_queues, newcomer, depositing)
