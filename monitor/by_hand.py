"""A repair that a person asks for on the command line, without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
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
        ConfigError: The output is there already or can't be written, or the options are no object.
    """
    _require_writable(output)
    given = _parsed(options)
    trials = asyncio.run(
        climb(
            LocalExecutor(timeout_seconds=timeout_seconds),
            [Recipe(plugin=r, options=given) for r in recipes],
            drifted=drifted.absolute(),
            reference=reference.absolute() if reference else None,
            output=output.absolute(),
            form=form,
            say=lambda stage, share: print(f"{share:5.0%}  {stage}", file=sys.stderr),
        )
    )
    output.with_name(f"{output.name}.patch.json").unlink(missing_ok=True)
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


def _require_writable(output: Path) -> None:
    if output.exists():
        raise ConfigError(f"{output} is there already; give another folder")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(output.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(f"{output.parent} can't be written; give another folder")


def _parsed(options: str) -> dict[str, Any]:
    try:
        given = json.loads(options)
    except ValueError as error:
        raise ConfigError(f"--options: no valid JSON ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError("--options: must be a JSON object")
    return given
