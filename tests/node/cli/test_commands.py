"""Every command against a node: what it does, what it prints as JSON, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import trio

from covey_node.service.port import AdviceView, ContactState, CopiesView, Status
from tests.node.api.fake_port import LINK, a_message
from tests.node.api.serving import DEADLINE_SECONDS, Served, serving
from tests.node.cli.conftest import Covey, environment, run_covey

FIRST = "1" + "0" * 31


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("status", {"account", "relays", "contacts"}),
        ("contacts", {"contacts"}),
        ("contacts --all", {"contacts"}),
        ("requests", {"requests"}),
        ("requests accept eve --as eva", {"alias", "state"}),
        ("requests refuse eve", {"refused"}),
        ("invite --for frank --valid 1h --open", {"link", "expires_at"}),
        ("invite list", {"invites"}),
        (f"add {LINK} --as frank --intro hello", {"alias", "state"}),
        ("verify bob", {"safety_number"}),
        ("verify bob --unmark", {"safety_number"}),
        ("rename bob robert", {"alias"}),
        ("block bob", {"blocked"}),
        ("send bob hello", {"id", "status", "reason"}),
        ("history bob", {"messages"}),
        ("ping bob --count 1", {"seconds", "path"}),
        ("doctor", {"healthy", "nat", "addresses", "portmap", "relays", "contacts", "advice"}),
        ("doctor bob", {"healthy", "contacts"}),
        (f"react {FIRST} x", {"message", "emoji"}),
        (f"edit {FIRST} better", {"text", "edited"}),
        (f"status --why {FIRST}", {"status", "words", "devices"}),
        (f"delete {FIRST}", {"deleted"}),
        ("completion bash", {"shell", "script"}),
        ("--version", {"version"}),
    ],
)
def test_every_command_prints_one_json_value(served: Served, covey: Covey, words: str, keys: set[str]) -> None:
    served.port.texts[FIRST] = a_message(1)
    ended = covey("--json", *words.split())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert keys <= json.loads(ended.stdout).keys()
    assert ended.stdout.count("\n") == 1


def test_json_and_home_may_stand_before_or_after_the_command(served: Served, tmp_path: Path) -> None:
    for words in (("contacts", "--json", "--home"), ("--json", "contacts", "--home")):
        ended = run_covey(tmp_path / "elsewhere", *words, str(served.home))
        assert json.loads(ended.stdout)["contacts"][0]["alias"] == "bob"
    ended = run_covey(tmp_path / "elsewhere", "--json", "--home", str(served.home), "invite", "list", "--json")
    assert json.loads(ended.stdout) == {"invites": []}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("", 2, "usage: covey"),
        ("frobnicate", 2, "invalid choice"),
        ("contacts --frobnicate", 2, "unrecognized arguments"),
        ("send bob", 2, "required"),
        ("send bob hi --disappear soon", 2, "is not a duration"),
        ("history bob --limit 0", 2, "is not a number from 1 to 1000"),
        ("invite --valid 400d", 2, "good for 365 days at most"),
        ("history nobody", 4, "no contact 'nobody'"),
        ("send nobody hi", 4, "no contact 'nobody'"),
        (f"edit {FIRST[::-1]} x", 4, "no message"),
        ("invite revoke inv9", 4, "no invite"),
        ("send eve hi", 5, "has not accepted you yet"),
        ("requests accept bob", 5, "does not wait"),
        ("ping carol", 5, "no path to carol"),
        ("doctor nobody", 4, "no contact 'nobody'"),
        ("rename bob a/b", 2, "alias"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_its_exit_code(covey: Covey, words: str, code: int, says: str) -> None:
    ended = covey(*words.split())
    assert (ended.returncode, ended.stdout) == (code, "")
    assert says in ended.stderr
    if "usage:" not in ended.stderr:
        assert ended.stderr.startswith("covey: ")
        assert ended.stderr.count("\n") == 1


def test_a_failure_is_json_on_stderr_when_json_is_asked_for(covey: Covey) -> None:
    ended = covey("history", "nobody", "--json")
    assert (ended.returncode, ended.stdout) == (4, "")
    error = json.loads(ended.stderr)["error"]
    assert error == {"code": "not_found", "message": "no contact 'nobody'; there are bob and carol"}


# --- finding the node


def test_without_an_account_the_command_says_how_to_make_one(tmp_path: Path) -> None:
    ended = run_covey(tmp_path / "none", "contacts")
    assert ended.returncode == 3
    assert "covey init" in ended.stderr


def test_without_a_running_node_the_command_says_how_to_start_it(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text("{}")
    ended = run_covey(tmp_path, "contacts")
    assert ended.returncode == 3
    assert "covey run" in ended.stderr


def test_a_dead_nodes_port_is_never_shown_the_token(tmp_path: Path) -> None:
    """Whoever listens on the port of a node that was killed would get the token with the first request."""
    with serving(tmp_path / "imposter") as imposter:
        home = tmp_path / "home"
        home.mkdir()
        (home / "api.json").write_text(json.dumps({"address": imposter.address, "token_file": "api.token"}))
        (home / "api.token").write_text(imposter.bearer)
        (home / "api.lock").touch()
        ended = run_covey(home, "contacts")
    assert (ended.returncode, ended.stdout) == (3, "")


def test_a_damaged_api_file_is_a_clear_error(served: Served, covey: Covey) -> None:
    for text in ("", "{", "[]", '{"address": "http://127.0.0.1:1"}', "\x00"):
        (served.home / "api.json").write_text(text)
        ended = covey("contacts")
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert "api.json" in ended.stderr


def test_the_node_is_found_over_tcp_too(tmp_path: Path) -> None:
    with serving(tmp_path, address="127.0.0.1:0"):
        assert run_covey(tmp_path, "contacts").returncode == 0


def test_a_home_that_is_mounted_elsewhere_for_the_client_is_found(served: Served, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(served.home)
    assert run_covey(tmp_path / "mount", "contacts").returncode == 0


def test_a_token_that_the_node_does_not_know_is_an_error(served: Served, covey: Covey) -> None:
    (served.home / "api.token").write_text("x" * 43)
    ended = covey("contacts")
    assert ended.returncode == 1
    assert "api.token" in ended.stderr


# --- sending


def test_send_tells_what_became_of_the_text(served: Served, covey: Covey) -> None:
    ended = covey("send", "bob", "hello", "there")
    assert ended.stdout == "delivered (relayed)  10000000  to bob\n"
    assert served.port.texts[FIRST].text == "hello there"


def test_send_succeeds_when_the_text_is_durable_and_says_why_it_still_waits(served: Served, covey: Covey) -> None:
    served.port.delivers = None
    ended = covey("send", "bob", "hello", "--timeout", "0.05")
    assert (ended.returncode, ended.stdout) == (0, "queued: bob is not online  10000000  to bob\n")
    ended = covey("send", "bob", "hello", "--wait", "none")
    assert (ended.returncode, ended.stdout) == (0, "queued: bob is not online  20000000  to bob\n")


def test_send_that_was_told_to_wait_fails_when_it_was_in_vain(served: Served, covey: Covey) -> None:
    served.port.delivers = None
    assert covey("send", "bob", "hello", "--wait", "delivered", "--timeout", "0.05").returncode == 6
    served.port.delivers = Status.SENT
    assert covey("send", "bob", "hello", "--wait", "delivered", "--timeout", "0.05").returncode == 6
    assert covey("send", "bob", "hello", "--wait", "sent").returncode == 0
    assert covey("send", "bob", "hello", "--wait", "stored", "--timeout", "0.05").returncode == 6
    served.port.delivers = Status.STORED
    assert covey("send", "bob", "hello", "--wait", "stored").returncode == 0
    served.port.delivers = Status.FAILED
    ended = covey("send", "bob", "hello")
    assert (ended.returncode, ended.stdout) == (5, "failed: bob's device is gone  60000000  to bob\n")


def test_a_text_comes_from_standard_input_without_its_last_line_break(served: Served, covey: Covey) -> None:
    covey("send", "bob", "-", stdin="one\n  two\n\n")
    assert served.port.texts[FIRST].text == "one\n  two\n"


def test_a_text_that_looks_like_an_option_goes_behind_two_dashes(served: Served, covey: Covey) -> None:
    covey("send", "bob", "--", "--json")
    assert served.port.texts[FIRST].text == "--json"


def test_a_reply_and_a_disappearing_text_carry_what_they_need(served: Served, covey: Covey) -> None:
    covey("send", "bob", "one")
    covey("send", "bob", "two", "--reply-to", FIRST, "--disappear", "1h")
    view = served.port.texts["2" + "0" * 31]
    assert view.reply_to == FIRST
    assert view.expires_at == view.sent_at + 3600


def test_an_interrupted_send_says_that_the_text_is_durable(served: Served) -> None:
    served.port.delivers = None
    process = subprocess.Popen(
        [sys.executable, "-m", "covey_node.cli.main", "send", "bob", "hello", "--timeout", "1h"],
        env=environment(served.home),
        stdout=subprocess.PIPE,
        text=True,
    )
    trio.from_thread.run(served.port.until_subscribers, 1, trio_token=served.token)  # it waits for the delivery
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, stdout) == (0, "queued: bob is not online  10000000  to bob\n")


# --- the others


def test_history_pages_and_marks_read_when_asked(served: Served, covey: Covey) -> None:
    for text in ("one", "two", "three"):
        served.within(lambda text=text: served.port.receive("bob", text))
    newest = json.loads(covey("history", "bob", "--limit", "2", "--json").stdout)["messages"]
    assert [view["text"] for view in newest] == ["two", "three"]
    older = json.loads(covey("history", "bob", "--before", newest[0]["id"], "--json").stdout)["messages"]
    assert [view["text"] for view in older] == ["one"]
    assert served.port.people["bob"].unread == 2
    covey("history", "bob", "--mark-read")
    assert served.port.people["bob"].unread == 0


def test_add_waits_for_the_answer_when_asked(served: Served, covey: Covey) -> None:
    ended = covey("add", LINK, "--as", "frank", "--wait", "0.05")
    assert (ended.returncode, ended.stdout) == (6, "frank: the request is on its way (frank is not online)\n")
    ended = covey("add", "-", stdin=f"{LINK}\n")
    assert ended.returncode == 0
    assert served.port.calls[-1][1][0] == LINK


def test_add_ends_its_waiting_when_the_answer_comes(served: Served) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "covey_node.cli.main", "add", LINK, "--as", "frank", "--wait", "1h"],
        env=environment(served.home),
        stdout=subprocess.PIPE,
        text=True,
    )
    trio.from_thread.run(served.port.until_subscribers, 1, trio_token=served.token)

    def accept() -> None:
        served.port.people["frank"] = replace(served.port.people["frank"], state=ContactState.ACCEPTED, reason=None)
        served.port.emit("contact", asdict(served.port.people["frank"]))

    served.within(accept)
    stdout, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, stdout) == (0, "frank: accepted; say hello: covey send frank hello\n")


def test_an_invite_is_the_last_line_so_that_it_can_be_piped(covey: Covey) -> None:
    assert covey("invite").stdout.splitlines()[-1] == LINK
    assert "█" in covey("invite", "--qr").stdout
    assert "█" not in covey("invite", "--no-qr").stdout


def test_verify_marks_and_unmarks(served: Served, covey: Covey) -> None:
    assert "carol is marked as verified." in covey("verify", "carol", "--mark").stdout
    assert served.port.people["carol"].verified
    assert "covey verify carol --mark" in covey("verify", "carol", "--unmark").stdout
    assert not served.port.people["carol"].verified


def test_ping_counts_and_sums_up(covey: Covey) -> None:
    lines = covey("ping", "bob", "--count", "2").stdout.splitlines()
    assert lines == ["bob: 12.3 ms, relayed"] * 2 + ["best 12.3 ms, mean 12.3 ms, worst 12.3 ms"]


def test_the_doctor_ends_with_7_where_something_is_wrong(served: Served, covey: Covey) -> None:
    assert covey("doctor").returncode == 0
    ended = covey("doctor", "carol", "--json")
    assert (ended.returncode, ended.stderr) == (7, "")
    assert [one["code"] for one in json.loads(ended.stdout)["contacts"][0]["advice"]] == ["unreached"]
    wrong = AdviceView("no_relay_connected", "No relay answers \x1b[2J. Check the firewall.", wrong=True)
    served.port.found = replace(served.port.found, healthy=False, advice=(wrong,))
    ended = covey("doctor")
    assert ended.returncode == 7
    assert "! No relay answers \\x1b[2J. Check the firewall." in ended.stdout
    ended = covey("doctor", "bob")
    assert ended.returncode == 0
    assert "! No relay answers" in ended.stdout


def test_contacts_hides_what_needs_no_attention_unless_asked(served: Served, covey: Covey) -> None:
    served.port.people["carol"] = replace(served.port.people["carol"], state=ContactState.BLOCKED)
    assert "carol" not in covey("contacts").stdout
    assert "carol  blocked" in covey("contacts", "--all").stdout


def test_watch_prints_events_from_where_it_was_told_and_ends_with_the_node(served: Served) -> None:
    served.within(lambda: served.port.emit("node", {"n": 1}))
    served.within(lambda: served.port.receive("bob", "hi \x1b[2J"))
    lies = a_message(7, text="later", status=Status.STORED, copies=CopiesView(2, 3))
    served.within(lambda: served.port.emit("message", asdict(lies)))
    process = subprocess.Popen(
        [sys.executable, "-m", "covey_node.cli.main", "watch", "--after", "0", "--kinds", "message"],
        env=environment(served.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "2  message  from bob  received  hi \\x1b[2J\n"
    assert process.stdout.readline() == "3  message  to bob  stored 2/3  later\n"
    served.within(served.shutdown.set)
    _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, stderr) == (3, "covey: the node stopped\n")


def test_a_closed_pipe_ends_the_command_quietly(served: Served) -> None:
    for _ in range(200):
        served.within(lambda: served.port.receive("bob", "x" * 1000))
    process = subprocess.Popen(
        [sys.executable, "-m", "covey_node.cli.main", "history", "bob", "--limit", "200"],
        env=environment(served.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(DEADLINE_SECONDS) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(covey: Covey, shell: str) -> None:
    script = covey("completion", shell).stdout
    for word in ("init", "chat", "verify", "revoke", "mark"):
        assert word in script


def test_the_bash_completion_completes(covey: Covey, tmp_path: Path) -> None:
    script = tmp_path / "covey.bash"
    script.write_text(covey("completion", "bash").stdout)
    program = f"source {script}; COMP_WORDS=(covey --json verify --m); COMP_CWORD=3; _covey; echo ${{COMPREPLY[@]}}"
    ended = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "--mark\n"
