"""Recipes, tried one after the other. Used by incidents and by ``alignd patch``."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.digest import folder_digest
from monitor.executor import Executor
from monitor.incident import Trial
from monitor.policy import hopeless
from monitor.site import Recipe, Say
from remediation.errors import PatchFailed, WorkerDied
from remediation.patch import Form, PatchRequest
from remediation.worker import to_json

__all__ = ["clear", "climb", "try_recipe"]


async def try_recipe(executor: Executor, request: PatchRequest, say: Say) -> Trial:
    """Run one recipe and look at its screen; ``why`` says why the result is not worth staging.

    Raises:
        WorkerDied: The worker ended without a result.
    """
    try:
        patch = await executor.run(request, lambda stage, share: say(f"{request.recipe}: {stage}", share))
    except PatchFailed as error:
        return Trial(recipe=request.recipe, why=str(error))
    return Trial(recipe=request.recipe, patch=to_json(patch), why=hopeless(patch.screen))


async def climb(
    executor: Executor,
    recipes: Sequence[Recipe],
    *,
    drifted: Path,
    reference: Path | None,
    output: Path,
    say: Say,
    form: Form = Form.MERGED,
) -> tuple[Trial, ...]:
    """Try recipes in order until one gives a patch that its screen does not call hopeless.

    Args:
        output: Not there yet; a patch that is not worth keeping is removed again, and nothing else ever is.
        form: What ``output`` shall be; a recipe that has no such form is passed over.

    Returns:
        One trial for each recipe that was begun; the last one's ``why`` is empty where ``output`` holds a patch.
    """
    trials: list[Trial] = []
    digests = [await asyncio.to_thread(_digest, folder) for folder in (drifted, reference)]
    for recipe in recipes:
        request = PatchRequest(
            incident="", recipe=recipe.plugin, drifted=drifted, reference=reference, output=output, seed=0,
            options=recipe.options, form=form, parent_digest=digests[0], reference_digest=digests[1],
        )  # fmt: skip
        try:
            trial = await try_recipe(executor, request, say)
        except WorkerDied as error:
            trial = Trial(recipe=recipe.plugin, why=str(error))
        trials.append(trial)
        if not trial.why:
            break
        if trial.patch:
            await asyncio.to_thread(shutil.rmtree, output, ignore_errors=True)
    return tuple(trials)


def _digest(folder: Path | None) -> str:
    """Say what weights a patch is of; of a folder that can't be read the worker says what is wrong with it."""
    try:
        return folder_digest(folder) if folder and folder.is_dir() else ""
    except OSError:
        return ""


def clear(output: Path) -> None:
    """Remove a recipe's scratch: the checkpoint and what was kept beside it."""
    shutil.rmtree(output, ignore_errors=True)
    output.with_name(f"{output.name}.patch.json").unlink(missing_ok=True)
