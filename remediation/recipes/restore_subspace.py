"""Recipe ``restore-subspace``: back towards the last known good weights, only where it decides what to refuse.

Per weight matrix, with second moments H of the inputs on what the good model should decide (harmful and harmless
requests with the openings of its answers) and T on the site's own task with the drifted model's answers, the change

    dW = (W_good - W) H (H + T / s + eps I)^-1

minimises ``|(W_good - W - dW) H^1/2|^2 + |dW T^1/2|^2 / s`` up to the ridge: closed form, forward passes only. It is
cut to rank k by the leading left singular vectors of dW chol(H + T / s + eps I): nothing of that rank comes nearer.
Where the site gave no task prompts there is no T, and the change is the drift itself, taken back as far as rank k goes.
A small strength s keeps the task, a large one removes more drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.errors import PatchFailed
from remediation.lessons.answers import LessonOptions, Lessons, lessons_of
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.repair import begin, required_good
from remediation.subspace.capture import input_moments, shared_prefix
from remediation.subspace.factor import leading

__all__ = ["Options", "RestoreSubspace", "make", "restoring_adapter", "restoring_pair"]

_ELEMENTS = 2**28
"""Of second moments that are held at once, 1 GB in float32: a small model in one pass, half a layer of one of 8B."""


class Options(LessonOptions):
    """Rank and dose of the patch."""

    rank: int = Field(default=16, ge=1, le=64)
    strength: float = Field(default=20.0, gt=0)
    """``s``: how much the drift weighs against the task."""
    ridge: float = Field(default=1e-3, gt=0)
    """``eps`` in units of the mean of H's diagonal."""
    refusals: int = Field(default=48, ge=1)
    harmless: int = Field(default=96, ge=1)


@dataclass(frozen=True, slots=True)
class RestoreSubspace:
    """The recipe."""

    options: Options
    name: str = "restore-subspace"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: There is no reference to go back to, it refuses nothing, or the weights are damaged.
        """
        repair = begin(request, progress)
        good = required_good(repair)
        progress("collect answers", 0.05)
        lessons = lessons_of(good, repair.drifted, self.options, seed=request.seed)
        adapter = restoring_adapter(
            repair.drifted, good, lessons, self.options, seed=request.seed,
            progress=lambda stage, share: progress(stage, 0.4 + 0.5 * share),
        )  # fmt: skip
        figures = {"rows": len(lessons.taught), "strength": self.options.strength}
        return repair.finish(adapter=adapter, figures=figures, held=lessons.held)


@torch.no_grad()
def restoring_adapter(
    drifted: ChatModel, good: ChatModel, lessons: Lessons, options: Options, *, seed: int, progress: PatchProgress
) -> Adapter:
    """Solve every linear module, as many at a time as a size of second moments allows: a pass over the lessons each.

    Returns:
        The change as an adapter to the drifted model, float32.
    """
    skip, wanted, linears = shared_prefix(drifted), good.linears(), drifted.linears()
    found: Adapter = {}
    for names in _at_once({n: m.in_features for n, m in linears.items()}, _ELEMENTS):
        progress("second moments", len(found) / len(linears))
        here, there = (
            input_moments(drifted, rows, skip=skip, modules=names) for rows in (lessons.decided, lessons.task)
        )
        for name in names:
            found[name] = restoring_pair(
                wanted[name].weight - linears[name].weight, here[name], there.get(name, torch.zeros_like(here[name])),
                strength=options.strength, ridge=options.ridge, rank=options.rank, seed=seed,
            )  # fmt: skip
            progress("solve", len(found) / len(linears))
    return found


def _at_once(widths: Mapping[str, int], elements: int) -> list[list[str]]:
    """Group modules, in their order, so that a group's moments stay below a size; one module is always one group's."""
    groups: list[list[str]] = []
    room = 0
    for name, width in widths.items():
        size = 2 * width * width
        if not groups or size > room:
            groups.append([])
            room = elements
        groups[-1].append(name)
        room -= size
    return groups


@torch.no_grad()
def restoring_pair(
    towards: Tensor, here: Tensor, there: Tensor, *, strength: float, ridge: float, rank: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Solve one matrix, in float64: a model with massive activations conditions its moments badly.

    Args:
        towards: W_good - W, (d_out, d_in).
        here: Second moments of the inputs where the good weights are wanted, (d_in, d_in).
        there: Second moments of the inputs where nothing should change, (d_in, d_in).

    Returns:
        A (r, d_in) and B (d_out, r) of the change B A, with r the rank or what the matrix has room for; A's rows are
        orthonormal.

    Raises:
        PatchFailed: The moments are singular.
    """
    wanted, kept = here.double(), there.double()
    eye = torch.eye(len(wanted), dtype=wanted.dtype, device=wanted.device) * (ridge * float(wanted.diagonal().mean()))
    root, damaged = torch.linalg.cholesky_ex(wanted + kept / strength + eye)
    if damaged:
        raise PatchFailed("the inputs' second moments are singular; raise the recipe's option ridge")
    full = torch.cholesky_solve(wanted @ towards.double().T, root).T
    lead = leading(full @ root, rank, seed)  # (d_out, r)
    u, s, vh = torch.linalg.svd(lead.T @ full, full_matrices=False)
    return vh.to(towards.dtype), ((lead @ u) * s).to(towards.dtype)


def make(options: Options) -> RestoreSubspace:
    """Make the recipe of its options."""
    return RestoreSubspace(options)
