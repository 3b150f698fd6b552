"""The project's own prompt suites and readers for public formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.errors import SuiteError
from probes.suites.manifest import builtin_manifests

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
    """Load one of the project's own suites and hold it against its manifest.

    Raises:
        SuiteError: There is no such suite (the message lists those there are), or its file was changed.
    """
    if name not in BUILTIN:
        raise SuiteError(f"no built-in suite {name!r}; there are: {', '.join(BUILTIN)}")
    manifest = builtin_manifests().get(name)
    if manifest is None:
        raise _damaged(name, "it has no manifest")
    try:
        text = files("probes.suites").joinpath("data", f"{name}.jsonl").read_text(encoding="utf-8")
        behaviors = tuple(_behavior(line) for line in text.splitlines())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(name, "its file is missing or cut short") from error
    sha256 = content_sha256(behaviors)
    if (len(behaviors), sha256) != (manifest.rows, manifest.sha256):
        raise _damaged(
            name,
            f"{len(behaviors)} rows with digest {sha256[:12]}, {manifest.rows} with {manifest.sha256[:12]} in its "
            "manifest",
        )
    return Suite(name=name, kind=BUILTIN[name], behaviors=behaviors, sha256=sha256)


def content_sha256(behaviors: Sequence[Behavior]) -> str:
    """Digest of what a suite asks, whatever file it came from."""
    rows = [[b.id, b.prompt, b.category, b.answer, *_apart(b)] for b in behaviors]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _behavior(line: str) -> Behavior:
    row = json.loads(line)
    return Behavior(id=BehaviorId(row["id"]), prompt=row["prompt"], category=row["category"], form=row["form"])


def _apart(behavior: Behavior) -> tuple[str, ...]:
    apart = (behavior.goal, behavior.context, behavior.opening)
    return apart if any(apart) else ()


def _damaged(name: str, how: str) -> SuiteError:
    return SuiteError(
        f"built-in suite {name} is damaged: {how}; install alignd again, and keep prompts of your own in a file apart"
    )
