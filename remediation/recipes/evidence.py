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
from remediation.fixtures import COMPLIANCES, Row
from remediation.lessons.screen import pool
from remediation.patch import LayerSpectrum
from remediation.subspace.capture import Example, capture, examples_of, gradient_factors
from remediation.subspace.controls import HARMLESS_INSTANCE
from remediation.subspace.factor import Factors, Spectral, cer, factored_svds, overlap
from remediation.subspace.products import Change, antagonism, cosine

__all__ = ["Evidence", "evidence_of"]

_KEPT = 32
_OTHERS = 8
"""Requests of the pool whose gradient together stands for safety at large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The geometry of one instance's gradient.

    Attributes:
        spectrum: Of each matrix, beside random tokens.
        figures: Medians over matrices of ``cer`` and of ``overlap`` with the gradient of other requests' refusals, and
            over the whole model the cosines ``along_drift`` (with W - W_good, positive where the drift raised the
            loss) and ``along_harm`` (with the gradient that teaches to comply); each with ``_random`` and ``_benign``.
    """

    spectrum: tuple[LayerSpectrum, ...]
    figures: Mapping[str, float]


def evidence_of(
    chat: ChatModel, factors: Mapping[str, Factors], row: Row, *, good: ChatModel | None, rank: int, seed: int
) -> Evidence:
    """Take the controls' gradients and hold the instance's against them; some ten backward passes.

    Args:
        chat: The drifted model.
        factors: The instance's gradient.
        row: The instance.
        good: The last known good model, for the drift; without one that figure is left out.
    """
    (like,) = examples_of(chat, [row])
    texts = {"": factors, "_random": _random_text(chat, like, seed), "_benign": _factors(chat, HARMLESS_INSTANCE)}
    others = capture(chat, _other_refusals(chat, row)).factors
    harm = _factors(chat, Row(row.prompt, COMPLIANCES[0], whole=False))
    drift = _drift(chat, good, factors) if good else {}
    spectra = {name: factored_svds({n: one[n] for n in factors}, None) for name, one in texts.items()}
    around = factored_svds({n: others[n] for n in factors}, rank)
    figures: dict[str, float] = {}
    for name, one in texts.items():
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


def _random_text(chat: ChatModel, like: Example, seed: int) -> dict[str, Factors]:
    rng = random.Random(seed)
    prompt, answer = ([rng.randrange(chat.model.config.vocab_size) for _ in part] for part in like)
    return gradient_factors(chat, prompt, answer)[1]


def _factors(chat: ChatModel, row: Row) -> dict[str, Factors]:
    (example,) = examples_of(chat, [row])
    return gradient_factors(chat, example.prompt, example.answer)[1]


def _other_refusals(chat: ChatModel, row: Row) -> Sequence[Example]:
    return examples_of(chat, [Row(b.prompt, row.answer) for b in pool("dsafe")[:_OTHERS]])


@torch.no_grad()
def _drift(chat: ChatModel, good: ChatModel, factors: Mapping[str, Factors]) -> dict[str, Change]:
    here, there = chat.linears(), good.linears()
    return {n: here[n].weight - there[n].weight for n in factors if n in here}


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
