#!/usr/bin/env python3
"""`make demo`: a seed, a relay and two people on this machine's loopback, shown step by step; no Docker needed.

Starts four processes with homes below build/demo (made anew each time), lets alice and bob meet and write to each other
with the same commands that a person would type, and prints what each said. On a terminal everything stays up until
Enter or Ctrl-C, so that one can go on by hand; without a terminal it ends at once. Exit code 0 when all went well.
"""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
HOME = Path("build/demo")  # below ROOT, where every command runs
NETWORK = HOME / "network.json"
READY_SECONDS = 60.0  # a first start compiles byte code, on a slow machine for a while
SHORT_CHARS = 48  # of a link: one line of a terminal
UNHEALTHY = 7  # the doctor's exit code when it found something wrong
STOP_SECONDS = 10.0  # each component promises to end within this time after SIGTERM

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def main() -> int:
    """Run the story; return the exit code."""
    signal.signal(signal.SIGTERM, _ended)
    os.chdir(ROOT)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with contextlib.ExitStack() as running:
        try:
            tell(running)
            if sys.stdin.isatty() and sys.stdout.isatty():
                go_on()
        except KeyboardInterrupt:
            print()
        except DemoFailed as problem:
            print(f"\ndemo: {problem}", file=sys.stderr)
            return 1
        step("stopping all four (their homes stay in build/demo until the next demo)")
    return 0


class DemoFailed(Exception):
    """A step did not do what it should; the text says which, and where to look."""


def tell(running: contextlib.ExitStack) -> None:
    """Start everything and let the two talk."""
    step("a seed: newcomers ask it for the way; it makes the private network and its key")
    seed, relay_port, *ops = ports(6)
    serve(running, "bootstrap", ops[0], {
        "COVEY_BOOTSTRAP_NETWORK_FILE": NETWORK, "COVEY_BOOTSTRAP_NETWORK_NAME": "demo",
        "COVEY_BOOTSTRAP_NETWORK_PRIVATE": "true", "COVEY_BOOTSTRAP_NETWORK_SUBNETS": "127.0.0.0/8",
        "COVEY_BOOTSTRAP_DATA_DIR": HOME / "bootstrap",
        "COVEY_BOOTSTRAP_IDENTITY_FILE": HOME / "bootstrap" / "identity",
        "COVEY_BOOTSTRAP_LISTEN": listening(seed),
    })  # fmt: skip
    step("a relay: it passes sealed bytes between people who cannot reach each other directly")
    serve(running, "relay", ops[1], {
        "COVEY_RELAY_NETWORK_FILE": NETWORK, "COVEY_RELAY_IDENTITY_FILE": HOME / "relay" / "identity",
        "COVEY_RELAY_LISTEN": listening(relay_port), "COVEY_RELAY_OPERATOR": "demo",
    })  # fmt: skip
    environment = {"COVEY_RELAY_NETWORK_FILE": str(NETWORK)}
    link = next(word for word in command("covey-relay", "link", env=environment).split() if word.startswith("covey:"))
    print(f"{DIM}  the link to join this network: {link[:60]}...{PLAIN}")

    step("two people: each has an account, a device and an encrypted database of her or his own")
    for name in ("alice", "bob"):
        secret = ROOT / HOME / f"{name}.key"
        secret.touch(mode=0o600)
        secret.write_bytes(os.urandom(32))
        covey(name, "init", "--name", name, "--secret-file", str(HOME / f"{name}.key"), "--network", link)
    person(running, "alice", ops[2])
    bob = running.enter_context(contextlib.ExitStack())
    person(bob, "bob", ops[3])

    step("alice invites bob; her link works once; in real life it goes over another channel, or as a QR code")
    invite = next(word for word in covey("alice", "invite", "--for", "bob").split() if word.startswith("covey:"))
    covey("bob", "add", invite, "--as", "alice", "--wait", "60s")
    covey("alice", "contacts")

    step("they write to each other; in brackets is the path that a message took")
    covey("alice", "send", "bob", "Hi Bob, can you read this?", "--wait", "delivered")
    covey("bob", "history", "alice")
    covey("bob", "send", "alice", "I can, and nobody else can.", "--wait", "delivered")
    covey("alice", "history", "bob", "--mark-read")
    covey("alice", "ping", "bob")

    step("how is bob reached? The doctor goes the way step by step")
    covey("alice", "doctor", "bob")

    step("bob's machine is off for a while: what alice writes waits at the relay, sealed; the doctor tries all ways")
    bob.close()
    covey("alice", "send", "bob", "For when you are back.")
    covey("alice", "doctor", "bob", exit_code=UNHEALTHY)
    person(bob, "bob", ops[3])
    covey("alice", "send", "bob", "There you are.", "--wait", "delivered")
    covey("bob", "history", "alice")

    step("is it really bob? Both read the same safety number to each other, once, by voice")
    numbers = {
        name: ask(name, "verify", other)["safety_number"] for name, other in (("alice", "bob"), ("bob", "alice"))
    }
    for name, number in numbers.items():
        print(f"  {name:6} {grouped(number)}")
    if numbers["alice"] != numbers["bob"]:
        raise DemoFailed("the safety numbers differ: somebody sits between them")
    print("  the numbers are the same: the keys are theirs")


def go_on() -> None:
    """Say how to continue by hand, and wait for Enter."""
    program = BIN.relative_to(ROOT) / "covey" if BIN.is_relative_to(ROOT) else BIN / "covey"
    step("go on by hand: everything stays up until you press Enter here. In two other terminals:")
    print(f"    {program} --home {HOME}/alice chat bob")
    print(f"    {program} --home {HOME}/bob chat alice")
    print(f"    {program} --home {HOME}/alice status")
    print(f"    {program} --home {HOME}/alice doctor      {program} --help")
    with contextlib.suppress(EOFError):
        input()


def step(text: str) -> None:
    print(f"\n{BOLD}==> {text}{PLAIN}", flush=True)


def grouped(digits: str) -> str:
    plain = digits.replace(" ", "")
    return " ".join(plain[at : at + 5] for at in range(0, len(plain), 5))


def listening(port: int) -> str:
    """Return where a component listens, over TCP and QUIC."""
    return f"/ip4/127.0.0.1/tcp/{port},/ip4/127.0.0.1/udp/{port}/quic-v1"


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("COVEY_")}


def command(program: str, *words: str, env: Mapping[str, str] | None = None, exit_code: int = 0) -> str:
    """Run a command of Covey, which is to end with `exit_code`, and return what it printed."""
    done = subprocess.run(
        [BIN / program, *words], env={**clean_environment(), **(env or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode != exit_code:
        raise DemoFailed(
            f"{program} {shlex.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def person(running: contextlib.ExitStack, name: str, ops: int) -> None:
    """Start somebody's node."""
    settings = {
        "COVEY_NODE_HOME": HOME / name, "COVEY_NODE_SECRET_FILE": HOME / f"{name}.key",
        "COVEY_NODE_LISTEN": listening(0),
    }  # fmt: skip
    serve(running, "node", ops, settings, log=name)


def covey(name: str, *words: str, exit_code: int = 0) -> str:
    """Run `covey WORDS` for one person, show the command as one would type it and what it said; return that."""
    shown = shlex.join(shortened(word) for word in words)
    print(f"{BOLD}  {name}${PLAIN} covey {shown}", flush=True)
    said = command("covey", "--home", str(HOME / name), *words, exit_code=exit_code)
    for line in said.splitlines():
        print("      " + " ".join(shortened(word) for word in line.split(" ")))
    return said


def shortened(word: str) -> str:
    """Return a link by its beginning, everything else as it is."""
    return f"{word[:32]}..." if "covey:" in word and len(word) > SHORT_CHARS else word


def ask(name: str, *words: str) -> Any:
    return json.loads(command("covey", "--home", str(HOME / name), *words, "--json"))


def ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def serve(
    running: contextlib.ExitStack, role: str, ops: int, settings: Mapping[str, object], *, log: str | None = None
) -> None:
    """Start one component, wait until it is ready, and have it stopped at the end."""
    name = log or role
    (HOME / name).mkdir(mode=0o700, exist_ok=True)
    env = {**clean_environment(), **{key: str(value) for key, value in settings.items()}}
    env[f"COVEY_{role.upper()}_OPS_ADDR"] = f"127.0.0.1:{ops}"
    started = time.monotonic()
    running.enter_context(process([BIN / f"covey-{role}", "run"], env, HOME / f"{name}.log", ops))
    print(
        f"{DIM}  {name} is ready after {time.monotonic() - started:.1f} s (log: build/demo/{name}.log){PLAIN}",
        flush=True,
    )


@contextlib.contextmanager
def process(words: list[Path | str], env: Mapping[str, str], log: Path, ops: int) -> Iterator[None]:
    # A session of its own: Ctrl-C reaches this script alone, which then stops the components in order.
    with log.open("wb") as output, subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    ) as child:  # fmt: skip
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not ready(ops):
                if child.poll() is not None or time.monotonic() > deadline:
                    last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                    raise DemoFailed(f"{log.stem} did not become ready:\n{last}")
                time.sleep(0.05)
            yield
        finally:
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


def ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _ended(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
