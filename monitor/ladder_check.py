"""Whether a site's ladders can be climbed: each recipe's options, before an incident needs it."""

from __future__ import annotations

from monitor.errors import ConfigError
from monitor.policy import Mode
from monitor.settings import Settings
from remediation.errors import WorkerDied
from remediation.recipe_check import Rung, check_rungs

__all__ = ["check_ladders"]


def check_ladders(settings: Settings) -> tuple[str, ...]:
    """Look at all targets' recipes in one child process, for the recipes import torch.

    Returns:
        What should be known and stops nobody from watching: recipes of targets in mode observe that can't be imported
        here, or that the look itself came to nothing.

    Raises:
        ConfigError: A recipe refuses its options, names a file that can't be used or is a control; or it can't be
            imported here, or its device is not here, and a target shall be repaired with it.
    """
    rungs = [
        Rung(where=f"targets.{target.name}.recipes[{n}]", recipe=recipe.plugin, options=recipe.options,
             device=target.patch_device)
        for target in settings.targets
        for n, recipe in enumerate(target.recipes)
    ]
    watched = tuple(f"targets.{target.name}.recipes[" for target in settings.targets if target.mode is Mode.OBSERVE)
    try:
        faults = check_rungs(rungs)
    except WorkerDied as error:
        return (f"recipes could not be checked: {error}",)
    if wrong := [f.told for f in faults if not (f.unchecked and f.where.startswith(watched))]:
        raise ConfigError("\n".join(wrong))
    return tuple(f.told for f in faults)
