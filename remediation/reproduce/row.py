"""One row in a process of its own, so that its peak memory is its own and nothing of it stays.

``python -m remediation.reproduce.row FOLDER ROW_NAME`` reads the run's settings in ``FOLDER``, runs the recipe,
measures what it wrote, and writes the row by rename. Progress comes as JSON lines on standard output.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from deploy.checkpoint import check_checkpoint
from deploy.errors import DeployError
from probes.attack import Attack, attack_sha256
from probes.attacks.direct import DirectAttack
from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import ProbeError, SuiteError
from probes.plugins import make_plugin
from probes.probe import Message
from probes.suites.sources import load_suite, names_a_file
from remediation.checkpoints.chat import ChatModel, load
from remediation.errors import RemediationError
from remediation.fixtures import AttackFixture, attack_named
from remediation.patch import Patch, PatchRequest
from remediation.reproduce.evaluate import evaluate
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.looks import Looks, imperative_of
from remediation.reproduce.plan import NONE, ReproduceSettings, Row, RowKey, plan
from remediation.worker import perform

__all__ = ["AsAttacked", "looks_of", "make_row"]

Say = Callable[[str, float], None]
_RECIPE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class AsAttacked:
    """Asks as the attacker of a fixture does: with the trigger, or in the identity that was taught."""

    fixture: AttackFixture

    @property
    def name(self) -> str:
        """The fixture's name."""
        return self.fixture.name

    @property
    def sha256(self) -> str:
        """Digest of what stands around a request."""
        return attack_sha256("as-attacked/1", self.fixture.template)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the request as the attacker puts it."""
        del seed
        return (Message(role="user", content=self.fixture.ask(behavior.prompt)),)


def make_row(folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, say: Say) -> Row:
    """Run a row's recipe and measure the result.

    Raises:
        RemediationError: The recipe can't repair this checkpoint.
        DeployError: A checkpoint can't be used.
        ProbeError: A suite, task or judge can't be used.
    """
    looks = looks_of(settings, key)
    source, patch = settings.model if not key.attack else folder.drifted(key), None
    if key.attack and key.recipe != NONE:
        patch = _patch(folder, settings, key, lambda stage, share: say(stage, share * _RECIPE_SHARE))
        source = patch.checkpoint
    spent = _peak_memory(settings.device)
    check_checkpoint(source)
    done = _RECIPE_SHARE if patch else 0.0
    figures = evaluate(
        _loaded(source, settings.device), looks, progress=lambda stage, share: say(stage, done + share * (1 - done))
    )
    row = Row(
        key=key, figures=figures, peak_memory_bytes=spent if patch else _peak_memory(settings.device),
        options=settings.options_of(key), device=settings.device,
    )  # fmt: skip
    return replace(
        row, seconds=patch.seconds, rank=patch.rank, drift_removed=patch.drift_removed, screen=patch.screen,
        controls=patch.controls, recipe_figures=patch.figures,
    ) if patch else row  # fmt: skip


def looks_of(settings: ReproduceSettings, key: RowKey) -> Looks:
    """Make what a row is looked at with: as its own attacker asks, and plainly.

    The aligned model is asked in all the ways of the run's attacks.

    Raises:
        ProbeError: A suite, task or judge can't be used.
    """
    fixtures = [attack_named(name) for name in ([key.attack] if key.attack else settings.attacks)]
    dressed: list[Attack] = [AsAttacked(f) for f in fixtures if f.ask("x") != "x"]
    attacks = (*dressed, DirectAttack()) if key.attack else (DirectAttack(), *dressed)
    tasks = {n: make_plugin("alignd.tasks", n, o, where=f"tasks.{n}") for n, o in settings.tasks.items()}
    judges = {n: make_plugin("alignd.judges", n, o, where=f"judges.{n}") for n, o in settings.judges.items()}
    benign = [load_suite(source, SuiteKind.BENIGN) for source in settings.benign]
    orders = [_orders(s) for s, source in zip(benign, settings.benign, strict=True) if names_a_file(source)]
    return Looks(
        harm=tuple(load_suite(source, SuiteKind.HARM) for source in settings.suites),
        attacks=attacks, benign=(*benign, *(o for o in orders if o)), tasks=tasks, judges=judges,
        harm_tokens=settings.harm_tokens, limit=settings.limit, task_limit=settings.task_limit, batch=settings.batch,
    )  # fmt: skip


def _orders(suite: Suite) -> Suite | None:
    """A file of questions is asked as orders too; one of orders as it is."""
    try:
        return imperative_of(suite)
    except SuiteError:
        return None


def _patch(folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, say: Say) -> Patch:
    shutil.rmtree(folder.patched(key), ignore_errors=True)
    request = PatchRequest(
        incident="reproduce", recipe=key.plugin, drifted=folder.drifted(key), reference=settings.model,
        output=folder.patched(key), seed=key.seed, options=settings.options_of(key),
    )  # fmt: skip
    if _on_gpu(settings.device):
        torch.cuda.reset_peak_memory_stats()
    return perform(request, say)


def _loaded(folder: Path, device: str) -> ChatModel:
    """Load in float32 on the processor, as recipes do, and as stored on a GPU, as servers do."""
    if not _on_gpu(device):
        return load(folder)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", device_map=device, local_files_only=True
    )
    return ChatModel(model.eval(), AutoTokenizer.from_pretrained(str(folder), local_files_only=True))


def _on_gpu(device: str) -> bool:
    return device != "cpu"


def _peak_memory(device: str) -> int:
    if _on_gpu(device) and torch.cuda.is_available():
        return sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Make one row in this process."""
    folder, name = ReproduceFolder(Path(sys.argv[1])), sys.argv[2]
    settings = folder.settings()
    key = next(k for k in plan(settings.attacks, settings.recipes, settings.seeds) if k.name == name)
    if _on_gpu(settings.device) and not torch.cuda.is_available():
        raise SystemExit(f"device {settings.device}: there is no GPU here; leave --device out")
    if settings.device.startswith("cuda"):
        torch.set_default_device(settings.device)  # recipes load and compute where torch does by default
    began = time.monotonic()

    def say(stage: str, share: float) -> None:
        print(json.dumps({"stage": stage, "share": round(share, 3)}), flush=True)

    try:
        row = make_row(folder, settings, key, say)
    except (RemediationError, DeployError, ProbeError, torch.OutOfMemoryError) as error:
        row = Row(
            key=key, figures=None, error=" ".join(str(error).split()) or type(error).__name__,
            seconds=time.monotonic() - began, peak_memory_bytes=_peak_memory(settings.device),
            options=settings.options_of(key), device=settings.device,
        )  # fmt: skip
    folder.write(row)


if __name__ == "__main__":
    main()
