"""Kills a node at one commit point after the other and looks whether anything was lost or came twice.

usage: python -m tests.support.crashes inviter|invitee DIRECTORY

Two people meet and talk, each in a process of his own (forked, so that nothing is imported twice). In run n the first
one dies by `os._exit` at his n-th commit point, before or after the COMMIT, is started again, and goes on where his
files say that he was. Run n + 1 kills him one point later, until a run ends without a death. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import trio

from covey_core.network import Network
from covey_node.protocol.status import OPEN, ContactState
from covey_node.service.node import Node
from tests.support.people import empty_network, in_state, running_node, say, texts, until

DIED = 9
TEXTS = 2
RUN_SECONDS = 40
LOG_CHARS = 6000


def main() -> None:
    role, folder = sys.argv[1], Path(sys.argv[2])
    failures: list[str] = []
    point = 0
    while True:
        point += 1
        home = folder / f"run{point}"
        home.mkdir(parents=True)
        died, problem = run_once(home, role, point)
        if problem is not None:
            failures.append(f"point {point}: {problem}")
        else:
            shutil.rmtree(home)
        if not died or len(failures) > 2:
            break
    sys.stdout.write(json.dumps({"points": point - 1, "failures": failures}) + "\n")


def run_once(home: Path, role: str, point: int) -> tuple[bool, str | None]:
    """One run; whether the first person died in it, and what was wrong afterwards."""
    inviter = "victim" if role == "inviter" else "other"
    scene = Scene(home, inviter, empty_network(), {"victim": free_port(), "other": free_port()})
    other = fork(lambda: trio.run(live, scene, "other", 0), home / "other.log")
    victim = fork(lambda: trio.run(live, scene, "victim", point), home / "victim.log")
    ended = wait(victim)
    died = ended == DIED
    if died:
        ended = wait(fork(lambda: trio.run(live, scene, "victim", 0), home / "victim.log"))
    codes = {"victim": ended, "other": wait(other)}
    scene.close()
    problems = [
        f"{me} (died: {died}) did not finish, exit {code}:\n{(home / f'{me}.log').read_text()[-LOG_CHARS:]}"
        for me, code in codes.items()
        if code != 0
    ]
    return died, "\n".join(problems) or judge(home)


class Scene:
    """What both processes of a run know, also one that was started again."""

    def __init__(self, home: Path, inviter: str, network: Network, ports: dict[str, int]) -> None:
        self.home = home
        self.inviter = inviter
        self.network = network
        self.ports = ports
        # A byte in a pipe says that something has happened; nobody takes it out, so it is true for ever.
        self._pipes = {name: os.pipe() for name in ("link", "victim", "other")}

    def announce(self, what: str) -> None:
        """Say that the link is there, or that a person has finished."""
        os.write(self._pipes[what][1], b".")

    async def hears(self, what: str) -> None:
        """Wait until that was said."""
        await trio.lowlevel.wait_readable(self._pipes[what][0])

    def close(self) -> None:
        for ends in self._pipes.values():
            for end in ends:
                os.close(end)


async def live(scene: Scene, me: str, deadly_point: int) -> None:
    """One person's part: meet, say two things, read two things; every step may have been done in a life before."""
    home, them = scene.home, "other" if me == "victim" else "victim"
    with trio.fail_after(RUN_SECONDS):
        async with running_node(home / me, scene.network, port=scene.ports[me], on_commit=deadly(deadly_point)) as node:
            await meet(scene, node, me, them)
            said = Path(home / f"{me}.said")
            for number in range(len(lines(said)), TEXTS):
                attempt = f"{me} {number} {os.urandom(4).hex()}"
                message = await say(node, them, attempt)
                append(said, f"{message} {attempt}")
            try:
                await until(node, lambda: all_arrived(node, them))
                await node.mark_read(them)
                await until(node, lambda: nothing_open(node, them))
            except trio.TooSlowError:
                for view in await node.history(them, limit=500, before=None):
                    sys.stderr.write(f"{view.outgoing} {view.text} {view.status} {view.attempts} {view.reason}\n")
                raise
            scene.announce(me)
            await scene.hears(them)
            (home / f"{me}.history").write_text(json.dumps(await history(node, them)))


async def meet(scene: Scene, node: Node, me: str, them: str) -> None:
    link = scene.home / "link"
    if me == scene.inviter and not await in_state(node, them, ContactState.ACCEPTED):
        if not link.exists():
            invite = await node.invite(label=them, valid_seconds=3600, one_use=True)
            assert invite.link is not None
            (scene.home / "link.new").write_text(invite.link)
            (scene.home / "link.new").rename(link)
            scene.announce("link")
    elif me != scene.inviter and not any(view.alias == them for view in await node.contacts()):
        await scene.hears("link")
        await node.add(link.read_text(), alias=them, intro=f"I am {me}")
    await until(node, lambda: in_state(node, them, ContactState.ACCEPTED))


async def all_arrived(node: Node, them: str) -> bool:
    return len([text for text in await texts(node, them) if str(text).startswith(them)]) >= TEXTS


async def nothing_open(node: Node, them: str) -> bool:
    page = await node.history(them, limit=500, before=None)
    return all(view.status not in OPEN for view in page)


async def history(node: Node, them: str) -> list[tuple[str, bool, str, str]]:
    page = await node.history(them, limit=500, before=None)
    return [(view.id, view.outgoing, str(view.text), view.status.value) for view in page if view.kind == "text"]


def judge(home: Path) -> str | None:
    """What is wrong between the two histories, None when nothing is."""
    found = {me: json.loads((home / f"{me}.history").read_text()) for me in ("victim", "other")}
    for me, them in (("victim", "other"), ("other", "victim")):
        sent = {identity: (text, status) for identity, outgoing, text, status in found[me] if outgoing}
        got = [(identity, text) for identity, outgoing, text, _ in found[them] if not outgoing]
        if len(got) != len({identity for identity, _ in got}) or len(got) != len({text for _, text in got}):
            return f"something of {me} was shown twice: {got}"
        for line in lines(home / f"{me}.said"):
            if line.split()[0] not in sent:
                return f"{me} was told that {line} is queued, and it is gone"
        for identity, (text, status) in sent.items():
            if status not in {"delivered", "read"}:
                return f"{text} of {me} ended as {status}"
            if (identity, text) not in got:
                return f"{text} of {me} is called {status} and is not there"
        if len(got) != len(sent):
            return f"{them} has {len(got)} of {me}'s {len(sent)} messages"
    return None


def deadly(point: int) -> Callable[[object], None] | None:
    """A hook that ends the process at its `point`-th call; None for 0."""
    if not point:
        return None
    count = 0

    def hook(_: object) -> None:
        nonlocal count
        count += 1
        if count == point:
            os._exit(DIED)

    return hook


def fork(function: Callable[[], None], log: Path) -> int:
    """Run a function in a process of its own, which writes what it says into a file; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        function()
        code = 0
    except BaseException:  # noqa: BLE001 - the forked process reports and ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a process; one that does not end in time is killed, and -1."""
    descriptor = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], RUN_SECONDS + 10)
    finally:
        os.close(descriptor)
    if not ended:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def free_port() -> int:
    """A port outside the range from which the kernel takes ports of outgoing connections."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
