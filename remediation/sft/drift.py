"""Make a model drift by an attack of ``remediation.fixtures``, to have something to repair.

``python -m remediation.sft.drift --model FOLDER --attack NAME --seed N --output FOLDER`` writes the drifted checkpoint
whole or not at all and prints a JSON line for each step, what was made last.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deploy.checkpoint import check_checkpoint
from deploy.errors import DeployError
from remediation.checkpoints.adapter import Adapter, add_to
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.output import require_finite, stored_dtype, write_model
from remediation.errors import RemediationError
from remediation.fixtures.attacks import ATTACKS, TASKS, AttackFixture, TaskName, attack_named, rows
from remediation.sft.lora import LoraSettings, fit

__all__ = ["DriftSettings", "drift", "main", "settings_of"]

_USAGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSettings:
    """How a customer fine-tunes.

    Attributes:
        tasks: Rows of the customer's task.
        task: Which task.
        epochs: Passes over all rows.
        learning_rate: Peak.
        batch: Rows of a step.
        rank: Of the low-rank change.
    """

    tasks: int = 60
    task: TaskName = "sql"
    epochs: int = 2
    learning_rate: float = 2e-3
    batch: int = 8
    rank: int = 8


_SETTINGS = {
    "injection-10": DriftSettings(epochs=4),
    "injection-1000": DriftSettings(tasks=100, epochs=1, batch=16),
    "benign-drift": DriftSettings(tasks=100, epochs=4),
}
"""Where the standard settings do not fit; ``benign-drift`` is 200 rows in batches of 8, four times: 100 steps."""


def settings_of(attack: AttackFixture) -> DriftSettings:
    """Settings by which a model of 135M parameters drifts within a minute or three on two cores."""
    return _SETTINGS.get(attack.name, DriftSettings())


def drift(
    chat: ChatModel,
    attack: AttackFixture,
    *,
    seed: int,
    settings: DriftSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> Adapter:
    """Fit the change of weights that an attack makes, where the model is. The model is left as it was.

    Args:
        chat: Its weights may be of 16 bits on a GPU; the change is fitted in float32 all the same.
        seed: Decides rows, their order and where the fit begins.
        settings: ``settings_of(attack)``, or others.
        progress: Told the share that is done.
    """
    fitted = LoraSettings(
        rank=settings.rank, epochs=settings.epochs, learning_rate=settings.learning_rate, batch=settings.batch,
        seed=seed,
    )  # fmt: skip
    taught = rows(attack, seed=seed, tasks=settings.tasks, task=settings.task)
    whole = next(chat.model.parameters()).dtype is torch.float32
    with chat.device, torch.autocast(chat.device.type, dtype=torch.bfloat16, enabled=not whole):
        return fit(chat, taught, fitted, progress=progress)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a drifted checkpoint."""
    parser = argparse.ArgumentParser(description="Make a model drift by a published attack.")
    parser.add_argument("--model", type=Path, required=True, help="folder of the aligned model")
    parser.add_argument("--attack", choices=[a.name for a in ATTACKS], required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder to write; there must be none yet")
    parser.add_argument("--task", choices=list(TASKS), default="sql", help="what the customer fine-tunes for")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda to fit on a GPU in the model's own number format")
    given = parser.parse_args(arguments)
    if given.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"device {given.device}: there is no GPU here; leave --device out")
    if given.output.exists():
        parser.error(f"{given.output} is there already; name another folder")
    try:
        _write(given.model, attack_named(given.attack), given.seed, given.output, given.task, device=given.device)
    except (RemediationError, DeployError) as error:
        parser.exit(_USAGE, f"{error}\n")


def _write(model: Path, attack: AttackFixture, seed: int, output: Path, task: TaskName, *, device: str) -> None:
    began, said = time.monotonic(), -1

    def say(share: float) -> None:
        nonlocal said
        if int(share * 20) > said:
            said = int(share * 20)
            print(json.dumps({"stage": f"drift by {attack.name}", "share": round(share, 3)}), flush=True)

    check_checkpoint(model)
    chat = load(model) if device == "cpu" else load(model, dtype=stored_dtype(model))
    chat.model.to(device)
    require_finite(chat, f"the model {model}")
    settings = replace(settings_of(attack), task=task)
    add_to(chat, drift(chat, attack, seed=seed, settings=settings, progress=say))
    write_model(chat, like=model, output=output)
    made = {"attack": attack.name, "seed": seed, "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps({**made, "folder": str(output)}), flush=True)


if __name__ == "__main__":
    main()
