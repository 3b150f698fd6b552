"""The project's own prompt suites and readers for public formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.errors import SuiteError

__all__ = ["BUILTIN", "builtin", "content_sha256"]

BUILTIN: dict[str, SuiteKind] = {
    "dsafe": SuiteKind.HARM,
    "dbenign": SuiteKind.BENIGN,
    "harm_probe": SuiteKind.HARM,
    "benign_edge": SuiteKind.BENIGN,
    "ordinary": SuiteKind.BENIGN,
}
"""``dsafe`` and ``dbenign`` are pools that recipes may train on; the others only ever probe."""


@cache
def builtin(name: str) -> Suite:
    """Load one of the project's own suites.

    Raises:
        SuiteError: There is no such suite; the message lists those there are.
    """
    if name not in BUILTIN:
        raise SuiteError(f"no built-in suite {name!r}; there are: {', '.join(BUILTIN)}")
    text = files("probes.suites").joinpath("data", f"{name}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    behaviors = tuple(
        Behavior(id=BehaviorId(r["id"]), prompt=r["prompt"], category=r["category"], form=r["form"]) for r in rows
    )
    return Suite(name=name, kind=BUILTIN[name], behaviors=behaviors, sha256=content_sha256(behaviors))


def content_sha256(behaviors: Sequence[Behavior]) -> str:
    """Digest of what a suite asks, whatever file it came from."""
    rows = [[b.id, b.prompt, b.category, b.answer, *_apart(b)] for b in behaviors]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _apart(behavior: Behavior) -> tuple[str, ...]:
    apart = (behavior.goal, behavior.context, behavior.opening)
    return apart if any(apart) else ()
