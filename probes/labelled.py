"""Replies that people have labelled: read in their published forms, and judged again.

The columns say which form it is:

* ``objective``, ``assistant_response``, ``human_score`` or ``human_score_1``, ``human_score_2`` and so on (PyRIT's
  scorer evaluations; comment lines that begin with ``#`` may stand before the header);
* ``goal``, ``target_response``, ``human_majority`` or ``human1``, ``human2`` ... (JailbreakBench's judge comparison);
* ``prompt``, ``completion``, ``final_label`` of ``1_full_compliance``, ``2_full_refusal``, ``3_partial_refusal``
  (XSTest's annotated completions; both kinds of refusal are one, as in XSTest's own rate).
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from probes.behavior import Behavior, BehaviorId
from probes.errors import JudgeError, LabelError
from probes.judge import Judge, Judgement, Verdict
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.target import Completion

__all__ = ["LabelledReply", "LabelledSet", "Outcome", "judge_labelled", "outcome_of", "parse_labelled", "read_labelled"]

Row = Mapping[str, str]

_OBJECTIVE = ("objective", "goal", "prompt", "behavior")
_REPLY = ("assistant_response", "target_response", "completion", "response", "generation")
_XSTEST = "final_label"
_SCORES = re.compile(r"human_score(?:_\d+)?")
_VOTES = re.compile(r"human_?\d+")
_MAJORITY = "human_majority"
_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0, "1_full_compliance": 0.0, "2_full_refusal": 1.0,
          "3_partial_refusal": 1.0}  # fmt: skip
_BATCH = 64


class Outcome(StrEnum):
    """What a positive label says of a reply."""

    HARM = "harm"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledReply:
    """A reply and what people say of it.

    Attributes:
        label: Mean of their marks, in [0, 1].
    """

    objective: str
    reply: str
    label: float

    @property
    def positive(self) -> bool:
        """Whether people call it positive: a mean of at least one half."""
        return self.label >= 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Labelled replies, each once.

    Attributes:
        doubled: Rows that said the same of the same reply as another one; their marks are averaged.
        sha256: Digest of the content, the same whatever form the file had.
    """

    name: str
    outcome: Outcome
    replies: tuple[LabelledReply, ...]
    doubled: int
    sha256: str


def read_labelled(path: Path, outcome: Outcome | None = None) -> LabelledSet:
    """Read labelled replies from a ``.csv``, ``.jsonl`` or ``.ndjson`` file in UTF-8.

    Args:
        path: The file.
        outcome: What its labels say; by default refusal in XSTest's form and harm in any other.

    Raises:
        LabelError: The file can't be used; the message names file and line and says what to do.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: can't be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error
    return parse_labelled(text, path, outcome)


def parse_labelled(text: str, path: Path, outcome: Outcome | None = None) -> LabelledSet:
    """Take labelled replies out of a file's text; ``path`` tells its form and stands in messages.

    Raises:
        LabelError: As for ``read_labelled``.
    """
    if path.suffix == ".csv":
        rows = _csv_rows(path, text)
    elif path.suffix in {".jsonl", ".ndjson"}:
        rows = _json_rows(path, text)
    else:
        raise LabelError(f"{path}: the file must end in .csv, .jsonl or .ndjson")
    marks: dict[tuple[str, str], list[float]] = {}
    said = outcome
    for line, row in rows:
        where = f"{path}, line {line}"
        if said is None:
            said = Outcome.REFUSAL if _XSTEST in row else Outcome.HARM
        if _XSTEST in row and said is not Outcome.REFUSAL:
            raise LabelError(f"{where}: {_XSTEST} says who refused, not what is harmful; read it as refusal")
        if not any(value.strip() for value in row.values()):
            continue
        objective, reply = row[_column(row, _OBJECTIVE, where)], row[_column(row, _REPLY, where)]
        if not objective.strip():
            raise LabelError(f"{where}: the objective is empty, so nobody can judge the reply; fill it in")
        if row.get("data_type", "text").strip() not in {"text", ""}:
            raise LabelError(f"{where}: data_type {row['data_type']!r} is no text; remove the row")
        marks.setdefault((objective, reply), []).append(_label(row, where))
    if not marks or said is None:
        raise LabelError(f"{path}: no labelled replies in it; check the file")
    replies = tuple(LabelledReply(objective=o, reply=r, label=sum(m) / len(m)) for (o, r), m in marks.items())
    return LabelledSet(
        name=path.stem,
        outcome=said,
        replies=replies,
        doubled=sum(map(len, marks.values())) - len(replies),
        sha256=_content_sha256(said, replies),
    )


async def judge_labelled(judge: Judge, labelled: LabelledSet) -> tuple[Judgement | JudgeError, ...]:
    """Judge each reply as if a target had given it to the objective, sent as it is.

    Returns:
        Judgements in the set's order; the error where the judge raised one, for that reply alone too.
    """
    pairs = [_pair(labelled.name, i, reply) for i, reply in enumerate(labelled.replies)]
    found: list[Judgement | JudgeError] = []
    for i in range(0, len(pairs), _BATCH):
        found += await _judged(judge, pairs[i : i + _BATCH])
    return tuple(found)


def outcome_of(judgement: Judgement | JudgeError, outcome: Outcome) -> bool | None:
    """Tell what a judge says of a reply in the words of the labels; ``None`` where it doesn't say."""
    if isinstance(judgement, JudgeError) or judgement.verdict is Verdict.UNSCORED:
        return None
    return judgement.refusal if outcome is Outcome.REFUSAL else judgement.verdict is Verdict.HARMFUL


async def _judged(judge: Judge, pairs: Sequence[tuple[Probe, Completion]]) -> list[Judgement | JudgeError]:
    try:
        return list(await judge.judge(pairs))
    except JudgeError as error:
        if len(pairs) == 1:
            return [error]
        alone = await asyncio.gather(*(_judged(judge, [pair]) for pair in pairs))
        return [one for ones in alone for one in ones]


def _pair(name: str, number: int, labelled: LabelledReply) -> tuple[Probe, Completion]:
    digest = hashlib.sha256(labelled.objective.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    probe = Probe(
        id=ProbeId(f"labelled/{name}/{number:05d}"),
        suite=name,
        behavior=Behavior(id=BehaviorId(digest), prompt=labelled.objective, category="all"),
        attack="direct",
        messages=(Message(role="user", content=labelled.objective),),
        sampling=Sampling(),
        seed=0,
    )
    return probe, Completion(
        probe=probe.id, text=labelled.reply, finish_reason="stop", model="", release="", completion_tokens=0,
        latency_seconds=0.0,
    )  # fmt: skip


def _column(row: Row, names: Sequence[str], where: str) -> str:
    found = next((name for name in names if name in row), "")
    if not found:
        there = ", ".join(sorted(row)) or "none"
        raise LabelError(f"{where}: no column {names[0]} (there are: {there}); name it one of: {', '.join(names)}")
    return found


def _label(row: Row, where: str) -> float:
    columns = [c for c in row if c == _XSTEST] or [c for c in row if _SCORES.fullmatch(c)]
    columns = columns or [c for c in row if _VOTES.fullmatch(c)] or [c for c in row if c == _MAJORITY]
    if not columns:
        there = ", ".join(sorted(row))
        raise LabelError(f"{where}: no column of human labels (there are: {there}); name it human_score")
    marks = [_mark(row[c], c, where) for c in columns if row[c].strip()]
    if not marks:
        raise LabelError(f"{where}: no label in {', '.join(columns)}; label the reply or remove the row")
    return sum(marks) / len(marks)


def _mark(value: str, column: str, where: str) -> float:
    word = value.strip().lower()
    try:
        mark = _WORDS[word] if word in _WORDS else float(word)
    except ValueError:
        mark = math.nan
    if not 0 <= mark <= 1:
        raise LabelError(f"{where}: {column} is {value[:40]!r}; write 0, 1, true, false or a number between 0 and 1")
    return mark


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    before = 0
    while text.startswith("#"):
        _, _, text = text.partition("\n")
        before += 1
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=None, strict=True)
    try:
        if doubled := sorted({c for c in reader.fieldnames or () if c and (reader.fieldnames or []).count(c) > 1}):
            raise LabelError(f"{path}: two columns are named {doubled[0]!r}; names must differ")
        for row in reader:
            if "" in row or None in row.values():
                raise LabelError(
                    f"{path}, line {before + reader.line_num}: the row has not as many fields as the header; "
                    "put quotes around fields that hold commas or line breaks"
                )
            yield before + reader.line_num, row
    except csv.Error as error:
        near = before + reader.line_num
        raise LabelError(f"{path}, near line {near}: no valid CSV ({error}); mend the row, or write .jsonl") from error


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{path}, line {number}: no valid JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise LabelError(f"{path}, line {number}: no JSON object; write one object a line")
        yield number, {key: "" if value is None else str(value) for key, value in row.items()}


def _content_sha256(outcome: Outcome, replies: Iterable[LabelledReply]) -> str:
    rows = sorted((r.objective, r.reply, r.label) for r in replies)
    return hashlib.sha256(json.dumps([outcome.value, rows]).encode()).hexdigest()
