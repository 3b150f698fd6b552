"""What the tests of tasks share: files in the published formats, and replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probes.behavior import Behavior
from probes.judge import Judgement
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.target import Completion
from probes.task import Task

__all__ = ["BAD_BYTES", "answer_of", "graded", "pair", "write_jsonl"]

BAD_BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "nothing in it"),
    "latin-1": (b'{"question": "caf\xe9"}', "not UTF-8 at byte 17"),
    "utf-16": ('{"question": "x"}'.encode("utf-16"), "not UTF-8"),
    "no-json": (b"question,answer\n1,2\n", "line 1: no valid JSON"),
    "broken-array": (b'[{"question": 1', "no valid JSON"),
    "deep": (b"[" * 100_000, "no valid JSON"),
    "no-objects": (b'{"question"\n', "line 1: no valid JSON"),
    "list-of-lists": (b"[[1], [2]]", "row 1: no JSON object"),
    "huge-number": (b'{"question": ' + b"1" * 5000 + b"}", "line 1: no valid JSON"),
}


def write_jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answer_of(behavior: Behavior, key: str) -> Any:  # noqa: ANN401  (JSON holds anything)
    return json.loads(behavior.answer)[key]


def pair(
    behavior: Behavior,
    reply: str,
    *,
    messages: Sequence[Message] = (),
    first_token: tuple[tuple[str, float], ...] = (),
) -> tuple[Probe, Completion]:
    probe = Probe(
        id=ProbeId("s/0"), suite="t", behavior=behavior, attack="direct", sampling=Sampling(), seed=1,
        messages=tuple(messages) or (Message(role="user", content=behavior.prompt),),
    )  # fmt: skip
    completion = Completion(
        probe=probe.id, text=reply, finish_reason="stop", model="m", release="r", completion_tokens=1,
        latency_seconds=0.1, first_token=first_token,
    )  # fmt: skip
    return probe, completion


async def graded(
    task: Task, *replies: str, of: Callable[[Task], Behavior] = lambda t: t.suite.behaviors[0]
) -> list[Judgement]:
    """Judge replies to a task's first behavior."""
    return list(await task.judge.judge([pair(of(task), reply) for reply in replies]))
