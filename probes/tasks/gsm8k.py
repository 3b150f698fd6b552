"""Arithmetic word problems in GSM8K's format: the reply's final number is compared with the reference's, exactly.

Format: JSONL of ``question`` and ``answer``, where the answer ends in ``#### n`` (Cobbe et al. 2021,
arXiv:2110.14168; published at github.com/openai/grade-school-math under MIT).
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from probes.behavior import Behavior, BehaviorId
from probes.target import Completion
from probes.task import CheckerJudge, Mark, Task
from probes.tasks.rows import Row, content_id, distinct, drawn, json_rows, task_suite

__all__ = ["INSTRUCTION", "Options", "final_number", "make"]

INSTRUCTION = "Solve the problem step by step. Write the answer, a number, after #### on a last line of its own."

_NUMBER = re.compile(
    r"(?P<sign>(?:(?<![\w)\]}%.])-)?(?:[$\u20ac\u00a3\u00a5\u20b9]\s?-?)?)"
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE](?P<exponent>[+-]?\d{1,3})(?!\w))?"
)
_MARKER = re.compile(r"####|\\boxed\s*\{|\banswer\s*(?:\bis\b|\W{0,3}[:=])", re.IGNORECASE)
"""What a reply writes before its final number."""
_AFTER_MARKER = 200
"""Characters after a marker in which its number stands."""
_TAIL = 20_000
"""Characters at a reply's end that are read; an answer stands there."""

_SIGNS = str.maketrans({
    "\u2212": "-", "\u2013": "-", "\ufe63": "-", "\uff0d": "-", "\uff0c": ",", "\u066c": ",", "\uff0e": ".",
    "\u066b": ".",
})  # fmt: skip
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_POWER = re.compile(r"(?<=\d)\s?(?:\u00d7|x|\*|\\times|\\cdot)\s?10\s?\^\s?\{?([+-]?\d{1,3})\b\}?")


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """The published file, e.g. ``test.jsonl``."""
    prompts: int = Field(default=100, ge=1)
    """Problems to ask, drawn by ``seed``; all where the file has fewer."""
    seed: int = 0
    """Decides which ones."""


def final_number(reply: str) -> Decimal | None:
    r"""Return the number that a reply ends up with.

    It is the one after the last ``####``, ``\boxed{`` or ``answer is``, else the last one there is. Thousands
    separators, currency signs, minus signs, decimals, powers of ten and digits of any script are read.
    """
    text = _POWER.sub(r"e\1", _THOUSANDS.sub(",", reply[-_TAIL:].translate(_SIGNS)))
    for marker in reversed([m.end() for m in _MARKER.finditer(text)]):
        said = text[marker : marker + _AFTER_MARKER].lstrip(" \t:*$\\\n")
        said = re.split(r"\n|(?<=\D)\. |(?<=\d)\.\s", said, maxsplit=1)[0]
        found = _NUMBER.search(said, said.rfind("=") + 1)
        if found:
            return _value(found)
    found = next(reversed(list(_NUMBER.finditer(text))), None)
    return _value(found) if found else None


def _value(found: re.Match[str]) -> Decimal:
    minus = "-" if "-" in found["sign"] else ""
    return Decimal(f"{minus}{found['digits'].replace(',', '')}e{found['exponent'] or 0}")


def _behavior(row: Row) -> Behavior:
    question, answer = row.text("question"), row.text("answer")
    _, mark, said = answer.rpartition("####")
    number = _NUMBER.fullmatch(said.strip())
    if not mark or not number:
        raise row.fault("'answer' must end in #### and a number; is this GSM8K's file?")
    return Behavior(
        id=BehaviorId(content_id("gsm8k", question, answer)),
        prompt=f"{INSTRUCTION}\n\n{question}",
        category="all",
        answer=json.dumps({"number": str(_value(number))}),
    )


def _check(behavior: Behavior, completion: Completion) -> Mark:
    number = final_number(completion.text)
    if number is None:
        return Mark(0.0, ("no_number",))
    return Mark(float(number == Decimal(json.loads(behavior.answer)["number"])))


def make(options: Options) -> Task:
    """Make the task of its options.

    Raises:
        SuiteError: The file can't be used; the message names file and line.
    """
    behaviors, twice = distinct(_behavior(row) for row in json_rows(options.path))
    asked = drawn(behaviors, options.seed)[: options.prompts]
    suite = task_suite("gsm8k", asked, options.path)
    return Task(suite=suite, judge=CheckerJudge("gsm8k-final-number/1", _check), max_tokens=512, left_out=twice)
