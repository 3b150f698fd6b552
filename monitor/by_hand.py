"""A repair that a person asks for on the command line, without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError
from monitor.executors.local import LocalExecutor
from monitor.ladder import climb
from monitor.site import Recipe

__all__ = ["patch_by_hand"]


def patch_by_hand(
    drifted: Path,
    output: Path,
    *,
    recipes: Sequence[str],
    reference: Path | None,
    options: str,
    timeout_seconds: float,
) -> list[dict[str, Any]]:
    """Try recipes in order until one gives a patch; progress goes to standard error.

    Args:
        options: Options of the recipes, a JSON object.
        timeout_seconds: For each recipe.

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
            say=lambda stage, share: print(f"{share:5.0%}  {stage}", file=sys.stderr),
        )
    )
    output.with_name(f"{output.name}.patch.json").unlink(missing_ok=True)
    return [asdict(t) for t in trials]


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
