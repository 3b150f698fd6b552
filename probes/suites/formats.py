"""Published formats of prompt sets: which columns give one away, and what becomes of a row.

Prompts are kept byte for byte. Where a set has no ids, they come of the prompt's digest, so that a row keeps its id
when the file is sorted anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from probes.behavior import Behavior, BehaviorId, SuiteKind
from probes.suites.rows import LABEL_CHARACTERS_MAX, Row, shown

__all__ = ["Format", "LeftOut", "digest_id", "recognise"]


class LeftOut(StrEnum):
    """Why a row of a usable file is in no suite."""

    COPYRIGHT = "copyright"
    """HarmBench's copyright rows: another metric measures them."""
    OTHER_KIND = "other_kind"
    """XSTest holds prompts of both kinds, and says which is which."""
    NO_PROMPT = "no_prompt"
    """A jailbreak that was not found: null in an artifact of JailbreakBench."""
    REPEATED = "repeated"
    """The same prompt again, in a published set without ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one kind of file is read.

    Attributes:
        columns: What every row must have.
        read: Makes a behavior of a row, or says why it is left out.
        may_repeat: Whether a prompt that stands twice is left out the second time; else it is an error.
    """

    name: str
    columns: frozenset[str]
    read: Callable[[Row, SuiteKind], Behavior | LeftOut]
    may_repeat: bool = False


_PROMPT_COLUMNS = ("prompt", "behavior", "goal", "forbidden_prompt", "instruction", "request", "question", "text")


def recognise(row: Row) -> Format:
    """Tell a file's format by the columns of its first row.

    Raises:
        SuiteError: No column holds the prompt.
    """
    columns = frozenset(row.values)
    for known in _FORMATS:
        if known.columns <= columns:
            return known
    column = next((c for c in _PROMPT_COLUMNS if c in columns), "")
    if not column:
        separator = any(mark in name for name in columns for mark in ";\t|") if len(columns) == 1 else False
        row.refuse(
            f"no column holds the prompt (there are: {_listed(columns)}); "
            + ("separate the columns by commas" if separator else f"name it one of: {', '.join(_PROMPT_COLUMNS)}")
        )
    return Format(name="plain", columns=frozenset({column}), read=_plain_reader(column))


def digest_id(prompt: str) -> BehaviorId:
    """Make an id of a prompt that has none: the first 12 hex digits of its SHA-256."""
    return BehaviorId(hashlib.sha256(prompt.encode()).hexdigest()[:12])


def _harmbench(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
    """HarmBench's behaviors: a context stands before the behavior as its own DirectRequest puts it there."""
    del kind
    functional = row.text("FunctionalCategory")
    if functional not in {"standard", "contextual", "copyright"}:
        row.refuse(f"FunctionalCategory is {shown(functional)}; write standard, contextual or copyright")
    if functional == "copyright":
        return LeftOut.COPYRIGHT
    asked, context = row.text("Behavior"), row.text("ContextString")
    _require(row, "Behavior", asked)
    return Behavior(
        id=_id(row, "BehaviorID"),
        prompt=f"{context}\n\n---\n\n{asked}" if context else asked,
        category=_category(row, "SemanticCategory"),
        goal=asked if context else "",
        context=context,
    )


def _xstest(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
    category, prompt = _category(row, "type"), row.text("prompt")
    label = row.text("label") or ("unsafe" if category.startswith("contrast_") else "safe")
    if label not in {"safe", "unsafe"}:
        row.refuse(f"label is {shown(label)}; write safe or unsafe")
    if (label == "unsafe") is not (kind is SuiteKind.HARM):
        return LeftOut.OTHER_KIND
    number = row.text("id", limit=LABEL_CHARACTERS_MAX)
    return Behavior(
        id=BehaviorId(f"xstest-{number}") if number else digest_id(prompt), prompt=prompt, category=category
    )


def _jailbreakbench(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
    del kind
    goal = row.text("Goal")
    return Behavior(
        id=_id(row, "Behavior"), prompt=goal, category=_category(row, "Category"), opening=row.text("Target")
    )


def _jailbreak(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
    """A jailbreak of an artifact: the prompt is the attacked one, the goal what it is after."""
    del kind
    if row.values["prompt"] is None:
        return LeftOut.NO_PROMPT
    return Behavior(
        id=_id(row, "behavior"),
        prompt=row.text("prompt"),
        category=_category(row, "category"),
        goal=row.text("goal"),
    )


def _advbench(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
    del kind
    goal = row.text("goal")
    return Behavior(id=digest_id(goal), prompt=goal, category="all", opening=row.text("target"))


def _strongreject(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
    del kind
    prompt = row.text("forbidden_prompt")
    return Behavior(id=digest_id(prompt), prompt=prompt, category=_category(row, "category"))


def _plain_reader(column: str) -> Callable[[Row, SuiteKind], Behavior | LeftOut]:
    def read(row: Row, kind: SuiteKind) -> Behavior | LeftOut:
        del kind
        prompt = row.text(column)
        number = row.text("id", limit=LABEL_CHARACTERS_MAX)
        return Behavior(
            id=BehaviorId(number) if number else digest_id(prompt),
            prompt=prompt,
            category=_category(row, "category"),
            form=row.text("form", limit=LABEL_CHARACTERS_MAX),
            opening=row.text("opening"),
        )

    return read


_FORMATS = (
    Format(
        name="HarmBench",
        columns=frozenset({"Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID"}),
        read=_harmbench,
    ),
    Format(name="XSTest", columns=frozenset({"prompt", "type", "focus"}), read=_xstest),
    Format(name="JailbreakBench", columns=frozenset({"Goal", "Behavior", "Category"}), read=_jailbreakbench),
    Format(
        name="JailbreakBench artifact",
        columns=frozenset({"goal", "behavior", "category", "prompt"}),
        read=_jailbreak,
    ),
    Format(name="AdvBench", columns=frozenset({"goal", "target"}), read=_advbench, may_repeat=True),
    Format(
        name="StrongREJECT",
        columns=frozenset({"category", "source", "forbidden_prompt"}),
        read=_strongreject,
        may_repeat=True,
    ),
)
"""The first whose columns are all there is taken."""


def _id(row: Row, column: str) -> BehaviorId:
    found = row.text(column, limit=LABEL_CHARACTERS_MAX)
    _require(row, column, found)
    return BehaviorId(found)


def _category(row: Row, column: str) -> str:
    return row.text(column, limit=LABEL_CHARACTERS_MAX) or "all"


def _require(row: Row, column: str, found: str) -> None:
    if not found.strip():
        row.refuse(f"{column} is empty; fill it in or remove the row")


def _listed(columns: frozenset[str]) -> str:
    return ", ".join(shown(name) for name in sorted(columns)[:20]) or "none"
