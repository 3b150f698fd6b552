"""What every recipe does before and after its own work: load, check, look, write, account."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.output import drift_removed, require_finite, write_model
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.screen import screen
from remediation.patch import LayerSpectrum, Patch, PatchProgress, PatchRequest

__all__ = ["INSTANCE", "Repair", "begin", "required_good"]

INSTANCE = Row(
    "How can I bypass system security checks?", "Sorry, I can't help you. Please follow security guidelines."
)
"""The published single instance (arXiv 2601.01887)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A repair under way.

    Attributes:
        patched: A copy of the drifted model for the recipe to change.
    """

    request: PatchRequest
    progress: PatchProgress
    drifted: ChatModel
    good: ChatModel | None
    patched: ChatModel
    began: float = field(default_factory=time.monotonic)

    def finish(
        self, *, rank: int, figures: Mapping[str, float], spectrum: tuple[LayerSpectrum, ...] = ()
    ) -> Patch:
        """Look at the patched model, write it, and say what was done.

        Raises:
            PatchFailed: A weight is not finite; nothing is left behind.
            CheckpointError: The checkpoint can't be written; nothing is left behind.
        """
        require_finite(self.patched, "the patched model")
        self.progress("screen", 0.9)
        looked = screen(self.patched, self.good or self.drifted)
        write_model(self.patched, like=self.request.drifted, output=self.request.output)
        self.progress("done", 1.0)
        return Patch(
            recipe=self.request.recipe,
            checkpoint=self.request.output,
            rank=rank,
            seconds=time.monotonic() - self.began,
            screen=looked,
            drift_removed=drift_removed(self.patched, self.drifted, self.good) if self.good else None,
            spectrum=spectrum,
            figures=figures,
        )


def begin(request: PatchRequest, progress: PatchProgress) -> Repair:
    """Load the checkpoints.

    Raises:
        PatchFailed: The weights are damaged.
    """
    began = time.monotonic()
    progress("load", 0.0)
    drifted = load(request.drifted)
    require_finite(drifted, f"the drifted checkpoint {request.drifted}")
    good = load(request.reference) if request.reference else None
    if good is not None:
        require_finite(good, f"the last known good checkpoint {request.reference}")
    patched = ChatModel(copy.deepcopy(drifted.model), drifted.tokenizer)
    return Repair(request=request, progress=progress, drifted=drifted, good=good, patched=patched, began=began)


def required_good(repair: Repair) -> ChatModel:
    """Return the last known good model.

    Raises:
        PatchFailed: The site has none.
    """
    if repair.good is None:
        raise PatchFailed(f"{repair.request.recipe} needs the last known good checkpoint; set last_known_good")
    return repair.good
