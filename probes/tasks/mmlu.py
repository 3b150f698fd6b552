"""Multiple choice in MMLU's format: the likeliest of the letters A to D as first token.

Format: CSV without a header, ``question,A,B,C,D,answer``, one file a subject (Hendrycks et al. 2021,
arXiv:2009.03300; published at github.com/hendrycks/test under MIT); or JSONL of ``question``, ``choices``, ``answer``
(0 to 3, or a letter) and ``subject``. Questions are asked without examples.

Where the server gives no log-probabilities, the letter that the reply names counts. The flags ``by_logprob`` and
``by_letter`` say which it was; figures of the two are not the same measure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from probes.behavior import Behavior, BehaviorId
from probes.errors import SuiteError
from probes.target import Completion
from probes.task import CheckerJudge, Mark, Task
from probes.tasks.rows import Row, content_id, csv_rows, distinct, drawn, json_rows, task_suite

__all__ = ["Options", "letter_by_logprob", "letter_of", "make"]

LETTERS = "ABCD"
_COLUMNS = ("question", *LETTERS, "answer")
_TOP_LOGPROBS = 20
"""The most that OpenAI's protocol allows, and vLLM by default."""

_DRESSING = " \t\n.,:;()[]*\"'`\u0120\u010a\u2581"
"""What tokenizers and models put around a letter: blanks in their spellings, punctuation."""
_SAYS = re.compile(
    r"(?i:\banswer|\bcorrect (?:choice|option))\W{0,4}(?:is\b)?\W{0,6}([A-D])(?![\w'])"
    r"|\\boxed\{\W*(?:\\text\{)?([A-D])\b"
)
_OPENS = re.compile(r"[\s(\[*\"'`]*([A-D])(?=[).:,\]*]|\s*(?:\n|$))")


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """A published file, e.g. ``astronomy_test.csv``, or a folder of them, e.g. ``data/test``."""
    prompts: int = Field(default=200, ge=1)
    """Questions to ask, drawn by ``seed``; all where there are fewer."""
    seed: int = 0
    """Decides which ones."""


def letter_by_logprob(first_token: tuple[tuple[str, float], ...]) -> str:
    """Return the letter whose spellings as a token hold the most probability together; empty where none is there."""
    mass = dict.fromkeys(LETTERS, 0.0)
    for token, logprob in first_token:
        letter = token.strip(_DRESSING)
        if letter in mass:
            mass[letter] += math.exp(min(logprob, 0.0))
    best = max(mass, key=lambda letter: mass[letter])
    return best if mass[best] > 0 else ""


def letter_of(reply: str) -> str:
    """Return the letter that a reply names: the last one it calls the answer, else the one it opens with."""
    said = [m[1] or m[2] for m in _SAYS.finditer(reply)]
    if said:
        return said[-1]
    opens = _OPENS.match(reply)
    return opens[1] if opens else ""


def _check(behavior: Behavior, completion: Completion) -> Mark:
    letter, how = letter_by_logprob(completion.first_token), "by_logprob"
    if not letter:
        letter, how = letter_of(completion.text), "by_letter"
    if not letter:
        return Mark(0.0, ("no_letter",))
    return Mark(float(letter == json.loads(behavior.answer)["letter"]), (how,))


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield each row with its file's subject."""
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in {".csv", ".jsonl", ".json"})
        if not files:
            raise SuiteError(f"{path}: no .csv or .jsonl file in it; the published archive has them in data/test")
    for file in files:
        subject = re.sub(r"_(?:test|val|dev)$", "", file.stem).replace("_", " ")
        rows = csv_rows(file, _COLUMNS) if file.suffix == ".csv" else json_rows(file)
        yield from ((subject, row) for row in rows)


def _behavior(row: Row, subject: str) -> Behavior:
    question = row.text("question")
    choices = (
        tuple(row.text(c, may_be_empty=True) for c in LETTERS)
        if "A" in row.values
        else row.texts("choices", may_be_empty=True)
    )
    if len(choices) != len(LETTERS):
        raise row.fault(f"{len(choices)} choices, not {len(LETTERS)}; only questions of four choices are asked")
    answer = row.values.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(LETTERS):
        answer = LETTERS[answer]
    if not isinstance(answer, str) or answer not in tuple(LETTERS):
        raise row.fault(f"'answer' must be one of A, B, C, D (or 0 to 3 in JSON), not {str(answer)[:20]!r}")
    subject = row.text("subject").replace("_", " ") if row.values.get("subject") else subject
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    return Behavior(
        id=BehaviorId(content_id("mmlu", subject, question, *choices, answer)),
        prompt=f"This is a multiple choice question about {subject}. Answer with one letter.\n\n"
        f"{question}\n{listed}\nAnswer:",
        category=subject.replace(" ", "_"),
        form="question",
        answer=json.dumps({"letter": answer}),
    )


def make(options: Options) -> Task:
    """Make the task of its options.

    Raises:
        SuiteError: A file can't be used; the message names file and line.
    """
    behaviors, twice = distinct(_behavior(row, subject) for subject, row in _rows(options.path))
    asked = drawn(behaviors, options.seed)[: options.prompts]
    return Task(
        suite=task_suite("mmlu", asked, options.path),
        judge=CheckerJudge("mmlu-letter/1", _check),
        max_tokens=16,
        top_logprobs=_TOP_LOGPROBS,
        left_out=twice,
    )
