"""What a safety gradient's geometry shows, each figure beside the same of a random and of a benign text.

Any text of that length has a gradient of low rank, and any two texts share much of it: energy ratio (CER), overlap and
angles (arXiv 2601.01887, section 4) are evidence only as far as the controls stay behind.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.modules import Targets, matrices
from remediation.fixtures import COMPLIANCES, Row
from remediation.lessons.screen import pool
from remediation.patch import LayerSpectrum
from remediation.subspace.capture import Example, capture, examples_of
from remediation.subspace.controls import HARMLESS_INSTANCE
from remediation.subspace.factor import Factors, Spectral, cer, factored_svds, overlap
from remediation.subspace.products import Change, antagonism, cosine

__all__ = ["Evidence", "evidence_of"]

_EVERYTHING = Targets()
_KEPT = 32
_OTHERS = 8
"""Requests of the pool whose gradient together stands for safety at large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The geometry of one instance's gradient.

    Attributes:
        spectrum: Of each matrix that all texts reach, beside random tokens.
        figures: Medians over these matrices of ``cer`` and of ``overlap`` with the gradient of other requests'
            refusals, and over the whole model the cosines ``along_drift`` (with W - W_good, positive where the drift
            raised the loss) and ``along_harm`` (with the gradient that teaches to comply); each with ``_random`` and
            ``_benign``.
    """

    spectrum: tuple[LayerSpectrum, ...]
    figures: Mapping[str, float]


def evidence_of(
    chat: ChatModel, factors: Mapping[str, Factors], row: Row, *,
    good: ChatModel | None, rank: int, seed: int, targets: Targets = _EVERYTHING,
) -> Evidence:  # fmt: skip
    """Take the controls' gradients and hold the instance's against them; some ten backward passes.

    Texts reach different experts of a mixture. Where one reaches a matrix not at all, its gradient there is zero, which
    counts in cosines and has no directions to compare.

    Args:
        chat: The drifted model.
        factors: The instance's gradient.
        row: The instance.
        good: The last known good model, for the drift; without one that figure is left out.
        targets: The matrices that ``factors`` were taken of.
    """
    (like,) = examples_of(chat, [row])

    def of(*examples: Example) -> dict[str, Factors]:
        return capture(chat, examples, targets=targets).factors

    benign, comply = examples_of(chat, [HARMLESS_INSTANCE, Row(row.prompt, COMPLIANCES[0], whole=False)])
    texts = {"": factors, "_random": of(_random_text(chat, like, seed)), "_benign": of(benign)}
    others, harm = of(*_other_refusals(chat, row)), of(comply)
    drift = _drift(chat, good, factors, targets) if good else {}
    common = [n for n in factors if all(n in one for one in (*texts.values(), others))]
    spectra = {name: factored_svds({n: one[n] for n in common}, None) for name, one in texts.items()}
    around = factored_svds({n: others[n] for n in common}, rank)
    figures: dict[str, float] = {}
    for name, one in texts.items():
        if common:
            figures[f"cer{name}"] = _median(cer(s.s, rank) for s in spectra[name].values())
            figures[f"overlap{name}"] = _median(_shared(s, around[n], rank) for n, s in spectra[name].items())
        figures[f"along_harm{name}"] = cosine(one, harm)
        if drift:
            figures[f"along_drift{name}"] = antagonism(one, drift)
    return Evidence(spectrum=_spectrum(spectra, rank), figures=figures)


def _spectrum(spectra: Mapping[str, Mapping[str, Spectral]], rank: int) -> tuple[LayerSpectrum, ...]:
    return tuple(
        LayerSpectrum(
            module=name,
            singular_values=tuple(float(v) for v in one.s[:_KEPT]),
            cer=cer(one.s, rank),
            cer_random=cer(spectra["_random"][name].s, rank),
        )
        for name, one in spectra[""].items()
    )


def _shared(one: Spectral, around: Spectral, rank: int) -> float:
    return overlap(one.lead(rank).u, around.u)


def _random_text(chat: ChatModel, like: Example, seed: int) -> Example:
    rng = random.Random(seed)
    return Example(*([rng.randrange(chat.model.config.vocab_size) for _ in part] for part in like))


def _other_refusals(chat: ChatModel, row: Row) -> Sequence[Example]:
    return examples_of(chat, [Row(b.prompt, row.answer) for b in pool("dsafe")[:_OTHERS]])


@torch.no_grad()
def _drift(chat: ChatModel, good: ChatModel, names: Iterable[str], targets: Targets) -> dict[str, Change]:
    here, there = (matrices(one.model, targets) for one in (chat, good))
    return {n: here[n].dense() - there[n].dense() for n in names}


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
