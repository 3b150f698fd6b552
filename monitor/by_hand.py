"""A repair that a person asks for on the command line, without a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
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
from remediation.patch import Form
from remediation.report import PatchReport, Provenance
from remediation.worker import patch_from_json

__all__ = ["patch_by_hand"]


def patch_by_hand(
    drifted: Path,
    output: Path,
    *,
    recipes: Sequence[str],
    reference: Path | None,
    options: str,
    timeout_seconds: float,
    report: Path | None = None,
    form: Form = Form.MERGED,
) -> list[dict[str, Any]]:
    """Try recipes in order until one gives a patch; progress goes to standard error.

    Args:
        options: Options of the recipes, a JSON object.
        timeout_seconds: For each recipe.
        report: Folder for a page and a JSON file of each trial, ``None`` for none.
        form: A full checkpoint, or a PEFT LoRA folder for the drifted one.

    Returns:
        The trials in plain values; the last one's ``why`` is empty where ``output`` holds a patch.

    Raises:
        ConfigError: The output is there already or can't be written, another repair is writing it, or the options are
            no object.
    """
    given = _parsed(options)
    with _locked(output):
        trials = asyncio.run(
            climb(
                LocalExecutor(timeout_seconds=timeout_seconds, keeps=False),
                [Recipe(plugin=r, options=given) for r in recipes],
                drifted=drifted.absolute(),
                reference=reference.absolute() if reference else None,
                output=output.absolute(),
                form=form,
                say=lambda stage, share: print(f"{share:5.0%}  {stage}", file=sys.stderr),
            )
        )
    if report:
        for rung, trial in enumerate(trials):
            _report(trial, rung, options=given, drifted=drifted, reference=reference, folder=report)
    return [asdict(t) for t in trials]


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
        raise ConfigError(f"{folder}: the report can't be written ({error.strerror}); give another folder") from error


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
        raise ConfigError(f"{output.parent} can't be written; give another folder") from error
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
                raise ConfigError(f"{output} is there already; give another folder")
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is held: who opened it meanwhile finds that it is gone
    finally:
        os.close(opened)


def _parsed(options: str) -> dict[str, Any]:
    try:
        given = json.loads(options)
    except ValueError as error:
        raise ConfigError(f"--options: no valid JSON ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError("--options: must be a JSON object")
    return given
