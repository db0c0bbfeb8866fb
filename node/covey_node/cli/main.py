"""Entry point of the `covey` command: parses, runs one command, turns what went wrong into an exit code.

Owns: the edge of the process. Spec: docs/users.md. Never touches: what commands do.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module

from covey_node.cli.exits import CliError, ExitCode
from covey_node.cli.output import Output, Run
from covey_node.cli.parser import home_of, make_parser


def main(argv: Sequence[str] | None = None, *, clock: Callable[[], float] = time.time) -> int:
    """Run one command and return its exit code; wrong usage raises `SystemExit` with 2, as argparse does."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 still gets its answer
    parser = make_parser()
    options = parser.parse_args(argv)
    out = Output.of(as_json=getattr(options, "json", False))
    if options.version:
        from covey_node.version import version  # noqa: PLC0415 - imports importlib.metadata

        out.show({"version": version()}, [f"covey {version()}"])
        return ExitCode.OK
    if options.command is None:
        parser.print_help(sys.stderr)
        return ExitCode.USAGE
    module, _, function = options.run.partition(":")
    run = Run(options=options, home=home_of(options), out=out, now=clock())
    try:
        code: int = getattr(import_module(f"covey_node.cli.{module}"), function)(run)
    except CliError as exc:
        out.fail(exc)
        code = exc.exit_code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at exit
        code = ExitCode.ERROR
    return code


if __name__ == "__main__":
    sys.exit(main())
