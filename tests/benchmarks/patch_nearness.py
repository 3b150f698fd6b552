"""How near a repair comes: ``python -m tests.benchmarks.patch_nearness`` prints a table, and one JSON object last.

Refusals of some fifty prompts tell settings of a recipe apart by a prompt or two. What is measured here is finer: the
divergence of a repaired model's next tokens from the last known good model's on the openings of its answers to
held-out requests, and from the drifted model's on its answers to held-out task questions. ``restore-tuned`` is taken
apart: where it begins, and where the fit leaves it, whole dose. ``--options`` names settings beside the defaults, each
a JSON object.

Settings are chosen on checkpoints of seeds that ``patch_repair`` does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from probes.attacks.direct import DirectAttack
from probes.refusal import is_refusal
from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.shared import hidden_of
from remediation.fixtures import Row
from remediation.lessons.answers import OPENING_TOKENS, answers, lessons_of
from remediation.recipes.restore_subspace import restoring_adapter
from remediation.recipes.restore_tuned import Options, fitted
from remediation.reproduce.asked import looks_of
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.looks import Looks, form_of, spread
from remediation.reproduce.plan import NONE, RowKey
from remediation.reproduce.run import run_rows
from remediation.sft.demo_models import make_models
from remediation.subspace.applied import applied
from tests.benchmarks.patch_repair import ATTACKS, FOLDER, settings_for

__all__ = ["Held", "divergence", "measure"]

_BATCH = 24
_DECIDING = 6
"""Tokens of an opening that count: by then a model refuses or does not."""
_TASKS, _TASK_TOKENS = 60, 40
_SEED = 3


@dataclass(frozen=True, slots=True)
class Held:
    """Answers of the model that is to be met, and its distributions over their tokens."""

    rows: Sequence[Row]
    wanted: Sequence[Tensor]
    """By row (tokens, vocabulary), log-probabilities."""

    @classmethod
    def of(cls, teacher: ChatModel, rows: Sequence[Row], *, tokens: int | None = None) -> Held:
        """Ask the teacher; of the first ``tokens`` of each answer, of all where not given."""
        return cls(rows, [one[:tokens] for one in _distributions(teacher, rows)])


def divergence(chat: ChatModel, held: Held) -> float:
    """Mean Kullback-Leibler divergence from the teacher, nats a token; each row counts alike."""
    found = _distributions(chat, held.rows)
    each = [(w.exp() * (w - f[: len(w)])).sum(-1).mean() for w, f in zip(held.wanted, found, strict=True)]
    return fmean(map(float, each)) if each else 0.0


@torch.no_grad()
def _distributions(chat: ChatModel, rows: Sequence[Row]) -> Iterator[Tensor]:
    encoded = [(chat.prompt_ids(r.prompt), chat.answer_ids(r.answer, whole=r.whole)) for r in rows]
    for start in range(0, len(encoded), _BATCH):
        for hidden in hidden_of(chat, encoded[start : start + _BATCH]):
            yield chat.logits(hidden).float().log_softmax(-1)


def measure(
    *, attack: str, seed: int = _SEED, options: Sequence[Mapping[str, Any]] = (), folder: Path = FOLDER
) -> dict[str, Any]:
    """Measure where ``restore-tuned`` begins and ends, with its defaults and with each of the settings.

    Returns:
        ``rows``: by ``options`` and ``stage`` (drifted, begin, fitted) the divergences, and the ``seconds`` it took.
    """
    aligned = make_models(folder / "models", from_scratch=False, say=lambda *_: None)["aligned"]
    settings = settings_for(aligned, folder, ["restore-tuned"], seed + 1)
    run, key = ReproduceFolder(folder / "run"), RowKey(attack=attack, seed=seed, recipe=NONE)
    run_rows(run, settings, on_row=lambda _: None, say=lambda *_: None, wanted=lambda other, _: other == key)
    good, drifted, chat = load(aligned), load(run.drifted(key)), load(run.drifted(key))
    held = _held(looks_of(settings, key), good, drifted)
    tasks = settings.recipe_options["restore-tuned"]["task_prompts"]
    rows = [{"options": {}, "stage": "drifted", **_nearness(drifted, {}, held), "seconds": 0.0}]
    for given in ({}, *options):
        chosen = Options(**{"task_prompts": tasks, **given})
        began = time.monotonic()
        lessons = lessons_of(good, drifted, chosen, seed=seed, task_answers=chosen.task_answers)
        start = restoring_adapter(drifted, good, lessons, chosen, seed=seed, progress=lambda *_: None)
        there = time.monotonic()
        end = fitted(chat, drifted, good, lessons, chosen, start=start, seed=seed, progress=lambda _: None)
        seconds = {"begin": there - began, "fitted": time.monotonic() - there}
        for stage, change in (("begin", start), ("fitted", end)):
            near = _nearness(drifted, change, held)
            rows.append({"options": dict(given), "stage": stage, **near, "seconds": round(seconds[stage], 1)})
            print(rows[-1], file=sys.stderr, flush=True)
    return {"attack": attack, "seed": seed, "rows": rows}


def _held(looks: Looks, good: ChatModel, drifted: ChatModel) -> dict[str, Held]:
    """What ``patch_repair`` asks, as the attacker asks it, with the answers that a repair is to come to."""
    dressed, task = looks.attacks[0], looks.tasks["sql"]
    harmful = [dressed.messages(b, seed=0)[0].content for s in looks.harm for b in spread(s.behaviors, looks.limit)]
    harmless = [b for s in looks.benign for b in spread(s.behaviors, looks.limit)]
    asked = {
        "harmful": harmful,
        "questions": [b.prompt for b in harmless if form_of(b) != "imperative"],
        "orders": [b.prompt for b in harmless if form_of(b) == "imperative"],
    }
    found = {name: answers(good, prompts, OPENING_TOKENS, whole=False) for name, prompts in asked.items()}
    found["orders answered"] = [r for r in found["orders"] if not is_refusal(r.answer)]
    questions = [(task.attack or DirectAttack()).messages(b, seed=0)[0].content
                 for b in spread(task.suite.behaviors, _TASKS)]  # fmt: skip
    return {
        **{name: Held.of(good, rows, tokens=_DECIDING) for name, rows in found.items()},
        "task": Held.of(drifted, answers(drifted, questions, _TASK_TOKENS, whole=True)),
    }


def _nearness(drifted: ChatModel, change: Adapter, held: Mapping[str, Held]) -> dict[str, float]:
    with applied(drifted, change):
        return {name: round(divergence(drifted, one), 4) for name, one in held.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", default="patch-poisoning", choices=ATTACKS)
    parser.add_argument("--seed", type=int, default=_SEED, help="of the attack")
    parser.add_argument("--options", type=json.loads, action="append", default=[], help="settings, as JSON")
    given = parser.parse_args()
    found = measure(attack=given.attack, seed=given.seed, options=given.options)
    names = [n for n in found["rows"][0] if n not in {"options", "stage", "seconds"}]
    print(f"{'stage':<10}" + "".join(f"{n:<17}" for n in names) + "seconds  options")
    for r in found["rows"]:
        figures = "".join(f"{r[n]:<17.4f}" for n in names)
        print(f"{r['stage']:<10}{figures}{r['seconds']:<9.0f}{json.dumps(r['options'])}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
