"""Steps that keep the rank, what they add up to, and how long they are.

Per matrix a step goes against the leading k singular triples of a gradient G = U S V^T = D^T X:

- ``spectral``: U_k V_k^T, all k directions alike (the orthogonal factor; Carlson et al. 2015).
- ``raw``: U_k S_k V_k^T, the published patch (arXiv 2601.01887, section 5).
- ``one-sided``: the leading triples of G (X^T X + eps I)^-1, scaled on the side of the inputs only. Without eps it is
  the least change that moves these tokens' outputs along -D, whatever else their inputs have in common.

Steps are linearised anew by whoever takes them, added up here, and cut back to rank k by the SVD of their factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.subspace.factor import Factors, factored_svds

__all__ = ["Dose", "Rule", "Steps", "line_search", "scaled", "smallest_dose"]

_RIDGE = 1e-2
"""``eps`` of one-sided steps, in units of the mean energy of a token's input."""


_CLOSE = 1.1
"""Doses nearer to each other than this ratio are the same."""


class Rule(StrEnum):
    """What a step does with the leading singular triples."""

    SPECTRAL = "spectral"
    RAW = "raw"
    ONE_SIDED = "one-sided"


class Steps:
    """Steps of rank k by module, and their sum.

    With ``gains`` a step of dose t moves a matrix by a change of Frobenius norm ``t gain sqrt(k)``, whatever the rule:
    its singular values are t times the matrix's root mean square gain, all alike if spectral, of that mean square if
    not. Without, a raw step is ``t G_k``: the sizes of matrices among each other are then the gradient's own.
    """

    def __init__(
        self, *, rank: int, rule: Rule = Rule.SPECTRAL, gains: Mapping[str, float] | None = None
    ) -> None:
        """Begin without any change.

        Args:
            rank: k, of each step and of their sum.
            gains: Root mean square gain ``|W|_F / sqrt(min(d_out, d_in))`` by module; modules without one stay as they
                are.
        """
        self._rank, self._rule, self._gains = rank, rule, gains
        self._sum: Adapter = {}

    @torch.no_grad()
    def direction(self, factors: Mapping[str, Factors]) -> Adapter:
        """The step of dose 1 against a gradient, not taken: A (k, d_in) with orthonormal rows and B (d_out, k)."""
        chosen = {n: f for n, f in factors.items() if self._gains is None or n in self._gains}
        if self._rule is Rule.ONE_SIDED:
            chosen = {n: _one_sided(f) for n, f in chosen.items()}
        found: Adapter = {}
        for name, lead in factored_svds(chosen, self._rank).items():
            if not float(lead.s[0]):
                continue
            s = lead.s
            if self._rule is Rule.SPECTRAL:
                s = (s > s[0] * torch.finfo(s.dtype).eps).to(s.dtype)  # what is rounding alone has no direction
            if self._gains is not None:
                s = s * (self._gains[name] * (len(s) ** 0.5) / float(s.norm()))
            found[name] = (lead.v.T.contiguous(), -lead.u * s)
        return found

    @torch.no_grad()
    def move(self, direction: Adapter, dose: float) -> None:
        """Add ``dose`` times a direction and cut the sum back to rank k."""
        self._sum = self._compressed(self.trial(direction, dose))

    @torch.no_grad()
    def trial(self, direction: Adapter, dose: float) -> Adapter:
        """What ``move`` would add up to, before it is cut: of rank 2 k at most."""
        found = dict(self._sum)
        for name, (a, b) in direction.items():
            if name in found:
                before, after = found[name]
                found[name] = (torch.cat([before, a]), torch.cat([after, dose * b], dim=1))
            else:
                found[name] = (a, dose * b)
        return found

    def adapter(self) -> Adapter:
        """The sum of the steps, float32, A's rows orthonormal; empty before the first."""
        return dict(self._sum)

    def _compressed(self, adapter: Adapter) -> Adapter:
        spectra = factored_svds({n: Factors(d=b.T, x=a) for n, (a, b) in adapter.items()}, self._rank)
        return {n: (one.v.T.contiguous(), one.u * one.s) for n, one in spectra.items()}


def _one_sided(factors: Factors) -> Factors:
    """Factors of G (X^T X + eps I)^-1 = D^T (X X^T + eps I)^-1 X (push-through identity)."""
    x, d = factors.x.double(), factors.d.double()
    energies = x @ x.T
    energies.diagonal().add_(_RIDGE * energies.diagonal().mean())
    weighted: Tensor = torch.linalg.solve(energies, d)
    return Factors(d=weighted.to(torch.float32), x=factors.x)


def scaled(adapter: Adapter, dose: float) -> Adapter:
    """``dose`` times a change."""
    return {n: (a, dose * b) for n, (a, b) in adapter.items()}


class Dose(NamedTuple):
    """What a line search came to.

    Attributes:
        dose: The one chosen.
        loss: The loss at it.
        tried: All doses asked for with their losses, in order; 0 first.
    """

    dose: float
    loss: float
    tried: tuple[tuple[float, float], ...]


def line_search(
    loss_at: Callable[[float], float],
    *,
    first: float,
    target: float | None = None,
    grow: float = 2.0,
    evaluations: int = 8,
) -> Dose:
    """Find the smallest dose that brings a loss to a target, or else the dose of least loss among those tried.

    From ``first`` the dose shrinks until the loss is below that at 0, or else grows while the loss falls and is above
    the target. The rest goes between the neighbours of what is best so far, at their geometric mean.

    Args:
        loss_at: The loss at a dose; what is not finite counts as too far.
        evaluations: Calls at most, that at 0 included.

    Returns:
        Dose 0 where no dose tried is better than none.
    """
    losses: dict[float, float] = {}

    def asked(dose: float) -> float:
        value = loss_at(dose)
        losses[dose] = value if math.isfinite(value) else math.inf
        return losses[dose]

    def reached(dose: float) -> bool:
        return target is not None and losses[dose] <= target

    start, dose = asked(0.0), first
    if target is not None and start <= target:
        return Dose(0.0, start, tuple(losses.items()))
    best = asked(dose)
    while len(losses) < evaluations and best >= start:  # too far: come nearer
        dose /= grow
        best = asked(dose)
    while len(losses) < evaluations and not reached(dose) and dose * grow not in losses:
        if asked(dose * grow) >= losses[dose] and not reached(dose * grow):
            break
        dose *= grow
    while len(losses) < evaluations and (between := _between(losses, target)) is not None:
        asked(between)
    good = [d for d in losses if reached(d)]
    chosen = min(good) if good else min(losses, key=lambda d: (losses[d], d))
    return Dose(chosen, losses[chosen], tuple(losses.items()))


def _between(losses: Mapping[float, float], target: float | None) -> float | None:
    """Where to look next: the geometric mean of the two doses around the answer; none where they are close."""
    doses = sorted(losses)
    good = [d for d in doses if target is not None and losses[d] <= target]
    at = doses.index(min(good) if good else min(doses, key=lambda d: (losses[d], d)))
    sides = [(doses[at - 1], doses[at])] if at else []
    if not good and at + 1 < len(doses):
        sides.append((doses[at], doses[at + 1]))
    wide = [(low, high) for low, high in sides if low > 0 and high / low > _CLOSE]
    if at and doses[at - 1] == 0:
        return doses[at] / 2
    if not wide:
        return None
    low, high = max(wide, key=lambda side: side[1] / side[0])
    return math.sqrt(low * high)


def smallest_dose(passes: Callable[[float], bool], *, upper: float, evaluations: int = 6) -> float | None:
    """Bisect for the smallest dose that passes a gate, taking for granted that larger ones up to ``upper`` do.

    Args:
        passes: Whether the gate is passed at a dose.
        evaluations: Calls at most; each one halves what is left.

    Returns:
        The smallest dose that was seen to pass, within ``upper / 2^(evaluations - 1)``; ``None`` where ``upper`` fails.
    """
    if not passes(upper):
        return None
    low, high = 0.0, upper
    for _ in range(evaluations - 1):
        middle = (low + high) / 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
