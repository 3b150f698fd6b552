"""Chat in MT-bench's format: conversations of two turns, each marked 1 to 10 by a served judge.

Format: JSONL of ``question_id``, ``category``, ``turns`` and, for some, ``reference`` (one answer for each turn)
(Zheng et al. 2023, arXiv:2306.05685; published at github.com/lm-sys/FastChat under Apache-2.0). The judge is shown
the whole conversation once and ends its answer with ``[[n]]``, as there; the words of its prompt are this project's,
so a mean mark is no published MT-bench score.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from probes.attack import attack_sha256
from probes.behavior import Behavior, BehaviorId
from probes.endpoint import Endpoint, EndpointOptions
from probes.probe import Message
from probes.task import Task
from probes.tasks.mark_judge import MarkJudge
from probes.tasks.rows import Row, drawn, json_rows, task_suite

__all__ = ["Options", "TurnsAttack", "make"]


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """The published file, ``question.jsonl``."""
    judge: EndpointOptions
    """The model that marks the answers: ``endpoint``, ``model``, ``api_key``."""
    prompts: int = Field(default=80, ge=1)
    """Conversations to hold, drawn by ``seed``; the published file has 80."""
    seed: int = 0
    """Decides which ones."""
    system_prompt: str = ""
    """The deployment's own system prompt, sent before the first turn where it is not empty."""


@dataclass(frozen=True, slots=True)
class TurnsAttack:
    """Asks a conversation's turns, one after the other: messages of the user in a row."""

    system_prompt: str = ""
    name: str = "turns"

    @property
    def sha256(self) -> str:
        """Digest of the system prompt: the turns are the behavior's own."""
        return attack_sha256("turns/1", self.system_prompt)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the turns, after the system prompt where there is one; the seed decides nothing here."""
        del seed
        turns = [Message(role="user", content=turn) for turn in json.loads(behavior.answer)["turns"]]
        return (*([Message(role="system", content=self.system_prompt)] if self.system_prompt else []), *turns)


def _behavior(row: Row) -> Behavior:
    turns, category = row.texts("turns"), row.text("category")
    reference = row.texts("reference") if row.values.get("reference") else ()
    name = row.values.get("question_id")
    if not isinstance(name, int | str) or isinstance(name, bool) or not str(name).strip():
        raise row.fault("'question_id' must be a number or a name")
    return Behavior(
        id=BehaviorId(f"mt-bench-{str(name)[:40]}"),
        prompt=turns[0],
        category=category,
        answer=json.dumps({"turns": turns, "reference": reference}),
    )


def _behaviors(path: Path) -> list[Behavior]:
    found: dict[BehaviorId, Behavior] = {}
    for row in json_rows(path):
        behavior = _behavior(row)
        if behavior.id in found:
            raise row.fault(f"question_id of {behavior.id} stands there twice; make them unique")
        found[behavior.id] = behavior
    return list(found.values())


def make(options: Options) -> Task:
    """Make the task of its options.

    Raises:
        SuiteError: The file can't be used; the message names file and line.
    """
    asked = drawn(_behaviors(options.path), options.seed)[: options.prompts]
    judge = MarkJudge(Endpoint(options.judge, who=f"judge {options.judge.model}"))
    return Task(
        suite=task_suite("mt-bench", asked, options.path),
        judge=judge,
        max_tokens=1024,
        attack=TurnsAttack(options.system_prompt),
    )
