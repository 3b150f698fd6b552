"""A run's settings with every option of its recipes, so that rows tell what they were made with.

Options that are not given have the recipe's defaults, and these change from one alignd to the next: rows that kept
only what was given would stand beside others of the same name that were made with something else.
"""

from __future__ import annotations

from remediation.errors import ReproduceError, WorkerDied
from remediation.recipe_check import Rung, look_at
from remediation.reproduce.plan import ALIGNED, NONE, ReproduceSettings, RowKey

__all__ = ["resolved"]


def resolved(settings: ReproduceSettings) -> ReproduceSettings:
    """Put the defaults of today's recipes in, looked up in a child process, for recipes import torch.

    Raises:
        ReproduceError: A recipe refuses its options, or can't be looked at.
    """
    names = [name for name in dict.fromkeys(settings.recipes) if name not in {ALIGNED, NONE}]
    keys = [RowKey(attack="", seed=0, recipe=name) for name in names]
    rungs = [
        Rung(where=f"--recipe-options {k.recipe}", recipe=k.plugin, options=settings.options_of(k), control=True)
        for k in keys
    ]
    try:
        looked = look_at(rungs)
    except WorkerDied as error:
        raise ReproduceError(f"--recipes: can't be looked at; {error}") from error
    if told := [one.fault.told for one in looked if one.fault]:
        raise ReproduceError("\n".join(told))
    options = {name: dict(one.options) for name, one in zip(names, looked, strict=True)}
    return settings.model_copy(update={"recipe_options": {**settings.recipe_options, **options}})
