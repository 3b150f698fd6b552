"""Whether servers would take the adapter that a recipe makes, before hours go into it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.adapter import RANKS, used_rank
from deploy.errors import CheckpointError
from deploy.offers import ranked
from deploy.weights import is_adapter
from monitor.site import Recipe, Site
from remediation.errors import WorkerDied
from remediation.recipe_check import Rung, look_at

__all__ = ["too_wide"]


async def too_wide(recipe: Recipe, drifted: Path, site: Site) -> str:
    """Say why servers would not take what a recipe makes; nothing where they may, or where its rank is not known.

    A recipe whose options name no rank is asked for its own in a child process, some seconds.

    Args:
        drifted: Folder of the drifted checkpoint, or of an adapter: the patch holds that one too, and ranks add up.
    """
    says = ranked(site.deployer)
    if says is None or (most := await says.rank_max()) <= 0:
        return ""
    options = recipe.options if "rank" in recipe.options else await asyncio.to_thread(_all_options, recipe)
    rank = options.get("rank")
    if not isinstance(rank, int):
        return ""
    # a patch of some modules alone may meet none that the adapter changes
    carried = 0 if options.get("modules") else await asyncio.to_thread(_carried, drifted)
    room = next((r for r in RANKS if r >= rank + carried), None)
    if room is not None and room <= most:
        return ""
    told = f"rank {rank} and the drifted adapter's {carried}" if carried else f"rank {rank}"
    way = f"start vLLM with --max-lora-rank {room}" if room else f"vLLM has room for {RANKS[-1]} at most"
    return f"{told}, and its servers take up to {most}; {way}"


def _all_options(recipe: Recipe) -> Mapping[str, Any]:
    """Return a recipe's options with its defaults; as given where it can't be looked at here, or refuses them."""
    try:
        (looked,) = look_at([Rung(where="recipe", recipe=recipe.plugin, options=recipe.options)])
    except WorkerDied:
        return recipe.options
    return looked.options


def _carried(drifted: Path) -> int:
    """Return the drifted adapter's rank; of a folder that can't be read the worker says what is wrong with it."""
    try:
        return used_rank(drifted) if is_adapter(drifted) else 0
    except (CheckpointError, OSError):
        return 0
