"""What recipes learn from: a model's own answers, and the site's own prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from probes.refusal import is_refusal
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.language import other_script
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.screen import pool
from remediation.prompt_files import split_prompts

__all__ = ["OPENING_TOKENS", "LessonOptions", "Lessons", "answers", "held_back", "lessons_of", "read_prompts"]

OPENING_TOKENS = 12
"""Whether a model refuses is decided in its first words; an answer that is cut teaches nothing about where to stop."""
_TASK_TOKENS = 48
_HELD_BACK = 10


class LessonOptions(BaseModel):
    """What a recipe takes to learn from; each recipe sets how much."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    refusals: int = Field(ge=1)
    """Harmful requests of the pool to take."""
    harmless: int = Field(ge=1)
    """Harmless requests of the pool to take, of those that the last known good model answers."""
    over_refusals: bool = False
    """Whether those that it refuses are taught as well: the repair then refuses some more of what is harmless than it
    did, and less of what is harmful gets through."""
    task_prompts: Path | None = None
    """Text file of the site's own task prompts, separated by lines of ``---``; their answers are not needed. The last
    tenth is not taught: on it the loss of benign traffic is measured."""


class Lessons(NamedTuple):
    """What a repair is to come to.

    Attributes:
        harmful: Openings of the last known good model's answers to harmful requests, whatever they say.
        harmless: Openings of its answers to harmless requests. Those that it refuses teach nothing worth having: with
            them a repair refused more of what is harmless than the good model does, without them no more.
        task: The drifted model's own answers to the site's task prompts.
        held: The same of prompts that teach nothing.
        drawn: Further answers to the task prompts that teach, drawn from the drifted model's distribution.
    """

    harmful: list[Row]
    harmless: list[Row]
    task: list[Row]
    held: list[Row]
    drawn: Sequence[Row] = ()

    @property
    def decided(self) -> list[Row]:
        """What the last known good model decides."""
        return [*self.harmful, *self.harmless]

    @property
    def taught(self) -> list[Row]:
        """All that teaches."""
        return [*self.decided, *self.task, *self.drawn]


def answers(
    chat: ChatModel, prompts: Sequence[str], tokens: int, *, whole: bool, drawn: int | None = None
) -> list[Row]:
    """Ask a model; prompts that it leaves empty are left out.

    Args:
        tokens: New tokens at most.
        whole: Whether the rows shall teach to stop where the answers end. One that was cut teaches no end.
        drawn: Seed of answers that are drawn from the model's distribution, in place of its likeliest.
    """
    said = chat.generate_ids([chat.prompt_ids(p) for p in prompts], max_tokens=tokens, drawn=drawn)
    ended = [bool(ids) and ids[-1] in chat.end_ids for ids in said]
    texts = [chat.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in said]
    return [Row(p, a, whole and e) for p, a, e in zip(prompts, texts, ended, strict=True) if a]


def lessons_of(
    good: ChatModel, drifted: ChatModel, options: LessonOptions, *, seed: int, task_answers: int = 1
) -> Lessons:
    """Ask the good model what to refuse and what to answer, and the drifted one how it does its task.

    Args:
        options: How many requests.
        seed: Decides which of them, and what is drawn.
        task_answers: Answers to each task prompt that teaches: the likeliest, and others that are drawn.

    Raises:
        PatchFailed: The good model refuses none of the harmful requests, or the task prompts can't be read.
    """
    rng = random.Random(seed)
    asked = {s: [b.prompt for b in pool(s)] for s in ("dsafe", "dbenign")}
    for prompts in asked.values():
        rng.shuffle(prompts)
    harmful = answers(good, asked["dsafe"][: options.refusals], OPENING_TOKENS, whole=False)
    if not any(is_refusal(r.answer) for r in harmful):
        script = other_script(r.answer for r in harmful)
        raise PatchFailed(
            f"the reference answers in {script} letters, and refusals are told by English phrases; give requests and a "
            "judge of the model's language" if script else
            "the reference refuses none of the pool's harmful requests; choose another reference"
        )
    harmless = asked["dbenign"][: options.harmless] if options.over_refusals else asked["dbenign"]
    said = answers(good, harmless, OPENING_TOKENS, whole=False)
    answered = [r for r in said if options.over_refusals or not is_refusal(r.answer)]
    parts = held_back(read_prompts(options.task_prompts))
    task, held = (answers(drifted, part, _TASK_TOKENS, whole=True) for part in parts)
    again = [*parts[0]] * (task_answers - 1)
    drawn = answers(drifted, again, _TASK_TOKENS, whole=True, drawn=seed)
    return Lessons(harmful, answered[: options.harmless], task, held, drawn)


def held_back(prompts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Split the site's task prompts into those that teach and the last tenth, which measures; of few prompts none."""
    taught = len(prompts) - len(prompts) // _HELD_BACK
    return prompts[:taught], prompts[taught:]


def read_prompts(file: Path | None) -> list[str]:
    """Read a text file of prompts separated by lines of ``---``; no file, no prompts.

    Raises:
        PatchFailed: The file can't be read.
    """
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PatchFailed(f"task_prompts {file} can't be read: {error}; mend the recipe's options") from error
    return split_prompts(text)
