"""The worker's side of JSON lines: questions on stdin, answers on stdout, the end of stdin is the end.

Owns: the loop. Never touches: what is asked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

Answer = Callable[..., Awaitable[object]]


async def answer_questions(answers: Mapping[str, Answer]) -> None:
    """Answer until stdin ends. An error is answered too, and ends the worker."""
    buffer = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as questions:
        async for data in questions:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                question: dict[str, Any] = json.loads(line)
                do = question.pop("do")
                try:
                    found = await answers[do](**question)
                except BaseException as exc:
                    _say({"failed": f"{do}: {exc!r}"})
                    raise
                _say(found)


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
