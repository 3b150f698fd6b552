"""A repair that a person asks for on the command line, without a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor import __version__
from monitor.errors import ConfigError
from monitor.executors.local import LocalExecutor
from monitor.incident import Trial
from monitor.ladder import climb
from monitor.patch_reports import write_trial
from monitor.site import Recipe
from remediation.errors import WorkerDied
from remediation.patch import DEVICE, Form
from remediation.recipe_check import Rung, check_rungs
from remediation.report import PatchReport, Provenance
from remediation.worker import patch_from_json

__all__ = ["patch_by_hand"]


def patch_by_hand(
    drifted: Path,
    output: Path,
    *,
    recipes: Sequence[str],
    reference: Path | None,
    options: Sequence[str],
    timeout_seconds: float,
    report: Path | None = None,
    form: Form = Form.MERGED,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Try recipes in order until one gives a patch; progress goes to standard error.

    Args:
        options: Options of the recipes, JSON objects: one for all of them, or one for each in their order.
        timeout_seconds: For each recipe.
        report: Folder for a page and a JSON file of each trial, ``None`` for none.
        form: A full checkpoint, or a PEFT LoRA folder for the drifted one.
        device: Where the recipes compute.

    Returns:
        The trials in plain values; the last one's ``why`` is empty where ``output`` holds a patch.

    Raises:
        ConfigError: The output is there already, lies inside a checkpoint or can't be written, another repair is
            writing it, a recipe, its options or the device can't be used, or the report can't be written.
    """
    if not timeout_seconds > 0:
        raise ConfigError(f"--timeout {timeout_seconds:g}: give seconds, more than 0")
    if not re.fullmatch(DEVICE, device):
        raise ConfigError(f"--device {device}: there are cpu, cuda, cuda:1 …")
    rungs = _rungs(recipes, options)
    if output.exists():
        raise _taken(output)
    _require_outside(output, drifted, reference)
    if report:
        _require_outside(report, drifted, reference)
        _require_writable(report)
    with _locked(output):
        _require_usable(rungs, device)
        trials = asyncio.run(
            climb(
                LocalExecutor(timeout_seconds=timeout_seconds, keeps=False, device=device),
                rungs,
                drifted=drifted.absolute(),
                reference=reference.absolute() if reference else None,
                output=output.absolute(),
                form=form,
                say=lambda stage, share: print(f"{share:5.0%}  {stage}", file=sys.stderr),
            )
        )
    if report:
        for rung, trial in enumerate(trials):
            _report(trial, rung, options=rungs[rung].options, drifted=drifted, reference=reference, folder=report)
    said = [asdict(t) for t in trials]
    for one in said:
        if one["patch"] and one["why"]:
            del one["patch"]["checkpoint"]  # it was removed
    return said


def _report(
    trial: Trial, rung: int, *, options: Mapping[str, Any], drifted: Path, reference: Path | None, folder: Path
) -> None:
    """Write what there is to say without a daemon: nothing was served, so nothing was held against the gates."""
    found = PatchReport(
        provenance=Provenance(
            recipe=trial.recipe, options=options, drifted=str(drifted), reference=str(reference or ""),
            made_with=f"alignd {__version__}",
        ),
        patch=patch_from_json(trial.patch) if trial.patch else None, verification=None, profiles={}, why=trial.why,
        written_at=datetime.now(UTC),
    )  # fmt: skip
    try:
        write_trial(found, folder, rung)
    except OSError as error:
        raise _unwritable_report(folder, error) from error


def _taken(output: Path) -> ConfigError:
    return ConfigError(f"{output} is there already; give another folder")


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Keep other repairs from writing the same output while this one does.

    Raises:
        ConfigError: Another one does, the output is there already, or can't be written.
    """
    place = output.absolute()
    lock = place.with_name(f".{place.name}.lock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{output.parent} can't be written ({why}); give another folder") from error
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = lock.exists() and os.path.samestat(os.fstat(opened), lock.stat())
        except OSError:
            ours = False
        if not ours:
            raise ConfigError(f"{output}: another repair is writing it; wait for its end, or give another folder")
        try:
            if output.exists():
                raise _taken(output)
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is held: who opened it meanwhile finds that it is gone
    finally:
        os.close(opened)


def _rungs(recipes: Sequence[str], options: Sequence[str]) -> list[Recipe]:
    """Give each recipe its options.

    Raises:
        ConfigError: They are no objects, or neither one nor as many as there are recipes.
    """
    given = [_parsed(one) for one in options] or [{}]
    if len(given) == 1:
        given *= len(recipes)
    if len(given) != len(recipes):
        raise ConfigError(
            f"--options was given {len(given)} times for {len(recipes)} recipes; give it once for all of them, or once "
            "for each --recipe, in their order ({} for none)"
        )
    return [Recipe(plugin=r, options=o) for r, o in zip(recipes, given, strict=True)]


def _require_usable(rungs: Sequence[Recipe], device: str) -> None:
    """Look at all recipes and their options before the first is run: that may take hours.

    Raises:
        ConfigError: Says what is wrong with which.
    """
    try:
        faults = check_rungs(
            [
                Rung(where=f"--recipe {r.plugin}", recipe=r.plugin, options=r.options, control=True, device=device)
                for r in rungs
            ]
        )
    except WorkerDied as error:
        raise ConfigError(f"--recipe: can't be looked at; {error}") from error
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(f.told for f in faults)))


def _require_outside(place: Path, drifted: Path, reference: Path | None) -> None:
    """Refuse to write into what is read: its digest would change, and with it what the patch is of.

    Raises:
        ConfigError: It lies there, whatever links lead to it.
    """
    for read in (drifted, reference):
        if read and place.resolve().is_relative_to(read.resolve()):
            raise ConfigError(f"{place} lies inside the checkpoint {read}; give a folder outside of it")


def _require_writable(folder: Path) -> None:
    """Find out before the repair whether the report can be written.

    Raises:
        ConfigError: It can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable_report(folder, error) from error


def _unwritable_report(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{folder}: the report can't be written ({error.strerror or error}); give another folder")


def _parsed(options: str) -> dict[str, Any]:
    try:
        given = json.loads(options)
    except ValueError as error:
        raise ConfigError(f"--options: no valid JSON ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError("--options: must be a JSON object")
    return given
