"""What every recipe does before and after its own work: load, check, look, write, account."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch

from deploy.adapter import full_checkpoint, name_of
from remediation.checkpoints.adapter import Adapter, add_to, rank_of, rounded, served_rank, write_adapter
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.language import require_known
from remediation.checkpoints.layered import carried, stacked
from remediation.checkpoints.modules import matrices
from remediation.checkpoints.output import (
    drift_removed,
    patch_note,
    require_finite,
    require_same_parameters,
    stored_dtype,
    write_model,
)
from remediation.checkpoints.quantise import quantised
from remediation.checkpoints.restored import restored
from remediation.checkpoints.sound import load_sound, require_mergeable
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.fixtures.contents import INSTANCE
from remediation.lessons.screen import complied, control_looks, pool, screen
from remediation.patch import Control, Form, LayerSpectrum, Patch, PatchProgress, PatchRequest
from remediation.sft.persistence import BenignSettings, benign_steps
from remediation.subspace.capture import examples_of, losses

__all__ = ["INSTANCE", "Repair", "begin", "instance", "required_good"]

_ASKED, _ANSWER_TOKENS = 4, 12
"""Harmless requests whose answers show the script that the model writes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A repair under way.

    Attributes:
        patched: A copy of the drifted model for the recipe to change.
        carried: The adapter that the drifted model is on its base, which the patch is stacked on; empty where it is a
            full checkpoint.
        dtype: Number format of the drifted checkpoint on disk, and of the patch.
    """

    request: PatchRequest
    progress: PatchProgress
    drifted: ChatModel
    good: ChatModel | None
    patched: ChatModel
    carried: Adapter = field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16
    began: float = field(default_factory=time.monotonic)

    def finish(
        self,
        *,
        figures: Mapping[str, float],
        adapter: Adapter | None = None,
        rank: int = 0,
        spectrum: tuple[LayerSpectrum, ...] = (),
        held: Sequence[Row] = (),
    ) -> Patch:
        """Look at the patched model, write it in the form that was asked for, and say what was done.

        Args:
            adapter: The change of the drifted model; where it is given, ``patched`` is made of it here. A recipe whose
                change has no low rank leaves it out and has changed ``patched``.
            rank: Rank of the change where no adapter is given, 0 for full rank.
            held: The drifted model's answers to prompts of the site's tasks that taught nothing; on them its loss and
                the patched model's are measured.

        Raises:
            PatchFailed: Nothing was changed, a weight is not finite, or the change does not fit into the form; nothing
                is left behind.
            CheckpointError: The patch can't be written; nothing is left behind.
        """
        if adapter is None:
            _require_form(self.request, full_rank=True)
            _round(self.patched, self.dtype)
        elif not adapter:
            what = "there is nothing to repair by its own measure"
            raise PatchFailed(f"{self.request.recipe} changed no module: {what}")
        else:
            rank, adapter = rank_of(adapter), rounded(adapter, self.dtype)
            self._apply(adapter)
        require_finite(self.patched, "the patched model")
        self.progress("screen", 0.9)
        looked = screen(self.patched, self.good or self.drifted)
        controls: tuple[Control, ...] = ()
        if not looked.complies:
            figures = {**figures, **self._benign_loss(held), **self._later()}
        if adapter is not None and not looked.complies:
            self.progress("controls", 0.95)
            controls = control_looks(self.drifted, adapter, seed=self.request.seed)
        removed = drift_removed(self.patched, self.drifted, self.good) if self.good and self._plain else None
        self._write(adapter, rank)
        self.progress("done", 1.0)
        return Patch(
            recipe=self.request.recipe,
            checkpoint=self.request.output,
            rank=rank,
            seconds=time.monotonic() - self.began,
            screen=looked,
            drift_removed=removed,
            spectrum=spectrum,
            figures=figures,
            controls=controls,
            form=self.request.form,
        )

    def _benign_loss(self, held: Sequence[Row]) -> dict[str, float]:
        """Mean cross-entropy of the drifted model's own answers under both models, nats a token."""
        if not held:
            return {}
        examples = examples_of(self.drifted, held)
        return {
            "benign_loss_drifted": fmean(losses(self.drifted, examples)),
            "benign_loss": fmean(losses(self.patched, examples)),
        }

    @property
    def _plain(self) -> bool:
        """Whether weights can be compared and changed: not so where they are quantised."""
        return all(m.plain for m in matrices(self.drifted.model).values())

    def _later(self) -> dict[str, float]:
        """ASR on the screen's prompts after what may happen to a repaired model, of weights that it can happen to."""
        if not self._plain:
            return {}
        self.progress("int8", 0.92)
        with quantised(self.patched):
            figures = {"asr_int8": complied(self.patched)}
        if steps := self.request.benign_steps:
            self.progress("benign steps", 0.93)
            with restored(self.patched):
                for _ in benign_steps(self.patched, (steps,), seed=self.request.seed, settings=BenignSettings()):
                    figures[f"asr_after_benign_steps_{steps}"] = complied(self.patched)
        return figures

    @torch.no_grad()
    def _apply(self, adapter: Adapter) -> None:
        """Make ``patched`` the drifted model with the change, rounded as a merged checkpoint is."""
        if self.request.form is Form.ADAPTER:
            served_rank(rank_of(stacked(self.carried, adapter)))
        for parameter, before in zip(self.patched.model.parameters(), self.drifted.model.parameters(), strict=True):
            parameter.copy_(before)
        add_to(self.patched, adapter, dtype=self.dtype if self.request.form is Form.MERGED else None)

    def _write(self, adapter: Adapter | None, rank: int) -> None:
        request, note = self.request, patch_note(self.request, rank=rank)
        base = full_checkpoint(request.drifted)
        if request.form is Form.MERGED or adapter is None:
            write_model(self.patched, like=base, output=request.output, dtype=self.dtype, more=note)
        else:
            whole = stacked(self.carried, adapter)
            write_adapter(whole, chat=self.drifted, base=name_of(base), output=request.output, more=note)


def begin(
    request: PatchRequest, progress: PatchProgress, *, full_rank: bool = False, beside: bool = False
) -> Repair:
    """Load the checkpoints and look whether they can be repaired.

    Args:
        full_rank: Whether the recipe changes weights in full rank, which no adapter holds.
        beside: Whether the recipe reads and changes no weight, so that quantised ones may be repaired as an adapter.

    Raises:
        PatchFailed: The weights are damaged, or can't be repaired in the form that was asked for.
        CheckpointError: A checkpoint is not whole.
    """
    began = time.monotonic()
    _require_form(request, full_rank=full_rank)
    if request.form is Form.MERGED or not beside:
        require_mergeable(request.drifted)
    progress("load", 0.0)
    drifted = load_sound(request.drifted, "the drifted checkpoint")
    good = load_sound(request.reference, "the last known good checkpoint") if request.reference else None
    if good:
        require_same_parameters(
            drifted, good, f"the drifted checkpoint {request.drifted}",
            f"the last known good checkpoint {request.reference}",
        )  # fmt: skip
    patched = ChatModel(copy.deepcopy(drifted.model), drifted.tokenizer)
    return Repair(
        request=request, progress=progress, drifted=drifted, good=good, patched=patched,
        carried=carried(request.drifted), dtype=stored_dtype(full_checkpoint(request.drifted)), began=began,
    )  # fmt: skip


def instance(chat: ChatModel, refusal: str = "") -> Row:
    """Return the published instance, with another refusal where the site's model speaks another language.

    Raises:
        PatchFailed: The model does not know the refusal's words, or answers harmless requests in another script.
    """
    row = INSTANCE._replace(answer=refusal or INSTANCE.answer)
    said = chat.generate([b.prompt for b in pool("dbenign")[:_ASKED]], max_tokens=_ANSWER_TOKENS)
    require_known(chat, row.answer, said=said, option="refusal")
    return row


def required_good(repair: Repair) -> ChatModel:
    """Return the last known good model.

    Raises:
        PatchFailed: The site has none.
    """
    if repair.good is None:
        raise PatchFailed(
            f"{repair.request.recipe} needs the last known good checkpoint; give it (last_known_good in the settings, "
            "--reference by hand)"
        )
    return repair.good


def _require_form(request: PatchRequest, *, full_rank: bool) -> None:
    if full_rank and request.form is Form.ADAPTER:
        raise PatchFailed(
            f"{request.recipe} changes weights in full rank, which no adapter holds; ask for the form merged, or "
            "choose a low-rank recipe"
        )


@torch.no_grad()
def _round(chat: ChatModel, dtype: torch.dtype) -> None:
    for parameter in chat.model.parameters():
        parameter.copy_(parameter.to(dtype).to(parameter.dtype))
