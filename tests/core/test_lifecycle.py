"""Real processes and real signals: what an operator's supervisor sees."""

import signal
import subprocess
import sys
import textwrap

import pytest

HEAD = """
import sys, trio
from covey_core import limits
from covey_core.errors import CoveyError, SettingsInvalid
from covey_core.lifecycle import run_component, run_guarded
def say(text):
    print(text, flush=True)
"""


def start(body, *, run="sys.exit(run_component(main))"):
    script = HEAD + textwrap.dedent(body) + "\n" + run
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), err


def wait_for(process, line):
    while (found := process.stdout.readline()).strip() != line:
        assert found, process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_component_finish_and_exit_with_0(number):
    process = start("""
        async def main(lifecycle):
            say("ready")
            await lifecycle.stopping.wait()
            await trio.lowlevel.checkpoint()
            say("finished in good order")
    """)
    wait_for(process, "ready")
    process.send_signal(number)
    assert finish(process) == (0, ["finished in good order"], "")


def test_a_signal_before_the_component_runs_is_not_lost():
    process = start("""
        import os, signal
        run = trio.run
        def run_late(*args, **more):
            os.kill(os.getpid(), signal.SIGTERM)
            return run(*args, **more)
        trio.run = run_late
        async def main(lifecycle):
            await lifecycle.stopping.wait()
            say("stopped")
    """)
    assert finish(process) == (0, ["stopped"], "")


def test_a_second_signal_cancels_at_once():
    process = start("""
        limits.SHUTDOWN_SECONDS = limits.SHUTDOWN_HARD_SECONDS = 1e6
        async def main(lifecycle):
            say("ready")
            await lifecycle.stopping.wait()
            say("stopping")
            try:
                await trio.sleep_forever()
            finally:
                say("cancelled")
    """)
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    wait_for(process, "stopping")
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (0, ["cancelled"], "")


def test_a_component_that_does_not_finish_is_cancelled_after_its_bound():
    process = start("""
        limits.SHUTDOWN_SECONDS = 0.1
        async def main(lifecycle):
            say("ready")
            try:
                await trio.sleep_forever()
            finally:
                say("cancelled")
    """)
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (0, ["cancelled"], "")


def test_a_process_that_is_stuck_ends_all_the_same():
    process = start("""
        limits.SHUTDOWN_SECONDS, limits.SHUTDOWN_HARD_SECONDS = 0.1, 0.3
        async def main(lifecycle):
            say("ready")
            await lifecycle.stopping.wait()
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
    """)
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 1
    assert "Timeout" in err
    assert "most recent call first" in err


def test_the_bounds_leave_time_before_a_container_engine_kills():
    from covey_core import limits  # noqa: PLC0415

    assert limits.SHUTDOWN_SECONDS < limits.SHUTDOWN_HARD_SECONDS < 10


def test_more_signals_change_nothing():
    process = start("""
        async def main(lifecycle):
            say("ready")
            await lifecycle.stopping.wait()
            try:
                say("stopping")
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    say("cleaning")
                    import os, signal
                    for _ in range(3):
                        os.kill(os.getpid(), signal.SIGTERM)
                        await trio.lowlevel.checkpoint()
                    say("clean")
    """)
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    wait_for(process, "stopping")
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, ["cleaning", "clean"], "")


def test_a_component_that_returns_by_itself_exits_with_0():
    assert finish(start("""
        async def main(lifecycle):
            say("done")
    """)) == (0, ["done"], "")  # fmt: skip


def test_the_component_may_stop_itself():
    assert finish(start("""
        async def main(lifecycle):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lifecycle.stopping.wait)
                lifecycle.stop()
            say("done")
    """)) == (0, ["done"], "")  # fmt: skip


def test_an_error_for_the_user_is_its_text_without_a_traceback():
    assert finish(start("""
        async def main(lifecycle):
            raise CoveyError("the disk is full: free some space")
    """)) == (1, [], "error: the disk is full: free some space\n")  # fmt: skip


def test_errors_for_the_user_inside_groups_are_each_said_once():
    assert finish(start("""
        async def fail(text):
            raise SettingsInvalid(text)
        async def main(lifecycle):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, "one")
                async with trio.open_nursery() as inner:
                    inner.start_soon(fail, "one")
    """)) == (1, [], "error: one\n")  # fmt: skip


def test_a_mistake_of_ours_is_a_traceback_and_70():
    code, out, err = finish(start("""
        async def main(lifecycle):
            raise LookupError("what was not there")
    """))  # fmt: skip
    assert (code, out) == (70, [])
    assert "Traceback" in err
    assert "LookupError: what was not there" in err


def test_a_mistake_of_ours_beside_an_error_for_the_user_is_not_hidden():
    code, _, err = finish(start("""
        async def main(lifecycle):
            raise ExceptionGroup("both", [CoveyError("full"), LookupError("gone")])
    """))  # fmt: skip
    assert code == 70
    assert "LookupError: gone" in err


def test_commands_without_trio_get_the_same_edge():
    process = start("""
        def main():
            raise SettingsInvalid("no such file")
    """, run="sys.exit(run_guarded(main))")  # fmt: skip
    assert finish(process) == (1, [], "error: no such file\n")


def test_ctrl_c_in_a_command_is_130():
    process = start("""
        import os, signal, time
        def main():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
    """, run="sys.exit(run_guarded(main))")  # fmt: skip
    assert finish(process) == (130, [], "")
