"""Whether a repair lasts: ``python -m tests.benchmarks.patch_persistence`` prints a table, and one JSON object last.

A checkpoint that drifted, by injection unless told, is repaired by the ladder's first recipe; then it is fine-tuned on
harmless rows and measured after 0 to 200 steps, and once with its weights rounded to int8. The aligned model goes
through the same steps as a control: what it loses, no repair could keep.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.quantise import quantised
from remediation.patch import PatchRequest
from remediation.reproduce.evaluate import evaluate
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.looks import Looks
from remediation.reproduce.plan import NONE, RowKey
from remediation.reproduce.row import looks_of
from remediation.reproduce.run import run_rows
from remediation.sft.demo_models import make_models
from remediation.sft.persistence import STOPS, BenignSettings, benign_steps
from remediation.worker import perform
from tests.benchmarks.patch_repair import ATTACKS, FOLDER, LADDER, settings_for

__all__ = ["measure"]

_ALIGNED = "aligned"


def measure(
    *, attack: str = ATTACKS[0], seed: int = 0, folder: Path = FOLDER, device: str = "cpu"
) -> dict[str, Any]:  # fmt: skip
    """ASR by refusal phrases, after benign steps and after int8.

    Returns:
        ``persistence``: for the patched and the aligned model, ASR by steps, and ``int8``.
    """
    models = make_models(folder / "models", from_scratch=False, say=lambda *_: None)
    settings = settings_for(models[_ALIGNED], folder, LADDER, seed + 1, device=device)
    run, before = ReproduceFolder(folder / "run"), RowKey(attack=attack, seed=seed, recipe=NONE)
    run_rows(run, settings, on_row=lambda _: None, say=lambda *_: None, wanted=lambda key, _: key == before)
    key = RowKey(attack=attack, seed=seed, recipe=LADDER[0])
    looks = looks_of(settings.model_copy(update={"benign": (), "tasks": {}}), key)
    patched = folder / "persistence" / key.name
    if not patched.exists():
        request = PatchRequest(
            incident="benchmark", recipe=key.plugin, drifted=run.drifted(key),
            reference=models[_ALIGNED], output=patched, seed=seed, options=settings.options_of(key),
        )  # fmt: skip
        with torch.device(device):
            perform(request, lambda *_: None)
    with torch.device(device):
        return {"persistence": {name: _curve(load(path), looks, seed) for name, path in
                                (("patched", patched), (_ALIGNED, models[_ALIGNED]))}}  # fmt: skip


def _curve(chat: ChatModel, looks: Looks, seed: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    with quantised(chat):
        found["int8"] = evaluate(chat, looks).asr_phrases.value
    for steps in benign_steps(chat, STOPS, seed=seed, settings=BenignSettings()):
        found[str(steps)] = evaluate(chat, looks).asr_phrases.value
        print(f"after {steps} steps: {found[str(steps)]}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", default=ATTACKS[0], choices=ATTACKS)
    parser.add_argument("--seed", type=int, default=0, help="of the attack")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    given = parser.parse_args()
    found = measure(attack=given.attack, seed=given.seed, device=given.device)
    print(f"{'ASR after':<12}{'patched':<10}aligned")
    for when, asr in found["persistence"]["patched"].items():
        print(f"{when:<12}{asr:<10}{found['persistence'][_ALIGNED][when]}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
