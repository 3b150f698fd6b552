"""Prompt sets by path: HarmBench, AdvBench, JailbreakBench, StrongREJECT, XSTest, plain CSV, JSON lines and JSON.

The columns say which it is; ``probes.suites.formats`` knows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import SuiteError
from probes.suites import content_sha256
from probes.suites.formats import Format, LeftOut, recognise
from probes.suites.manifest import SPLIT, SuiteManifest
from probes.suites.rows import Row, read_rows, shown

__all__ = ["SuiteReading", "read_file", "read_suite", "reading_of"]

_CATEGORIES_MAX = 100
"""Categories become labels of metrics, so they can't be free text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteReading:
    """What was read, and what was left out on purpose.

    Attributes:
        format: Name of the recognised format, e.g. ``HarmBench``.
        rows: Rows in the source, the ones left out among them.
        left_out: How many rows were left out, by reason.
    """

    suite: Suite
    manifest: SuiteManifest
    format: str
    rows: int
    left_out: tuple[tuple[LeftOut, int], ...] = ()


def read_suite(path: Path, kind: SuiteKind, name: str | None = None) -> Suite:
    """Read a prompt set.

    Left out on purpose: HarmBench's copyright rows, which another metric measures; the rows of XSTest that are not
    of this kind (``harm`` takes the contrast prompts, ``benign`` the safe ones); jailbreaks that an artifact of
    JailbreakBench says were not found; a prompt that AdvBench or StrongREJECT has twice.

    Args:
        path: A ``.csv``, ``.jsonl``, ``.ndjson`` or ``.json`` file in UTF-8.
        kind: What the prompts measure: ``harm`` or ``benign``. Tasks need a checker, so no file makes one.
        name: The suite's name; by default the file's, without its ending.

    Returns:
        The suite, in the file's order, with the digest of its content.

    Raises:
        SuiteError: The file can't be used; the message names file and row and says what to do.
    """
    return read_file(path, kind, name).suite


def read_file(path: Path, kind: SuiteKind, name: str | None = None) -> SuiteReading:
    """Read a prompt set as ``read_suite`` does, and say what it was and what was left out.

    Raises:
        SuiteError: The file can't be used; the message names file and row and says what to do.
    """
    if kind is SuiteKind.TASK:
        raise SuiteError(f"{path}: a task needs a checker, which a file of prompts lacks; read it as harm or benign")
    rows = read_rows(path)
    if not rows:
        raise SuiteError(f"{path}: no {kind.value} prompts in it, for it has no rows; check that it was saved whole")
    known = recognise(rows[0])
    behaviors, left_out = _behaviors(rows, known, kind)
    if not behaviors:
        other = SuiteKind.BENIGN if kind is SuiteKind.HARM else SuiteKind.HARM
        hint = f"read it as {other.value}" if left_out[LeftOut.OTHER_KIND] else "check the file and the kind"
        raise SuiteError(f"{path}: no {kind.value} prompts in it ({known.name}, {len(rows)} rows); {hint}")
    return reading_of(
        behaviors,
        source=str(path),
        name=name or path.stem.encode(errors="replace").decode(),
        kind=kind,
        known=known.name,
        left_out=left_out,
    )


def reading_of(
    behaviors: Sequence[Behavior],
    *,
    source: str,
    name: str,
    kind: SuiteKind,
    known: str,
    left_out: Counter[LeftOut],
    version: str = "",
    licence: str = "",
    about: str = "",
) -> SuiteReading:
    """Make a suite of what was read, with a manifest that says as much as the source does.

    Raises:
        SuiteError: It has more categories than metrics can tell apart.
    """
    if (count := len({b.category for b in behaviors})) > _CATEGORIES_MAX:
        raise SuiteError(
            f"{source}: {count} categories, at most {_CATEGORIES_MAX} can be told apart in metrics; "
            "group them, or rename the column if it is no category"
        )
    found = tuple(behaviors)
    suite = Suite(name=name, kind=kind, behaviors=found, sha256=content_sha256(found))
    manifest = SuiteManifest(
        name=name, kind=kind, version=version, use="probe", rows=len(found), sha256=suite.sha256, licence=licence,
        split=SPLIT, about=about,
    )  # fmt: skip
    return SuiteReading(
        suite=suite,
        manifest=manifest,
        format=known,
        rows=len(found) + left_out.total(),
        left_out=tuple(sorted(left_out.items())),
    )


def _behaviors(rows: Sequence[Row], known: Format, kind: SuiteKind) -> tuple[list[Behavior], Counter[LeftOut]]:
    behaviors: list[Behavior] = []
    left_out: Counter[LeftOut] = Counter()
    seen: dict[str, Row] = {}
    for row in rows:
        if missing := sorted(known.columns - row.values.keys()):
            row.refuse(f"column {shown(missing[0])} is missing, which {known.name} rows have; add it")
        behavior = known.read(row, kind)
        if isinstance(behavior, Behavior) and behavior.id in seen and known.may_repeat:
            behavior = LeftOut.REPEATED
        if isinstance(behavior, LeftOut):
            left_out[behavior] += 1
            continue
        if not behavior.prompt.strip():
            row.refuse("the prompt is empty; fill it in or remove the row")
        if (first := seen.get(behavior.id)) is not None:
            row.refuse(
                f"id {shown(behavior.id)} was seen on {first.where.rsplit(', ', 1)[-1]}; make the ids unique, or "
                "remove the row where its prompt stands there twice"
            )
        seen[behavior.id] = row
        behaviors.append(behavior)
    return behaviors, left_out
