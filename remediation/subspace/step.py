"""Steps that keep the rank, what they add up to, and how long they are.

Per matrix a step goes against the leading k singular triples of a gradient G = U S V^T = D^T X:

- ``spectral``: U_k V_k^T, all k directions alike (the orthogonal factor; Carlson et al. 2015).
- ``raw``: U_k S_k V_k^T, the published patch (arXiv 2601.01887, section 5).
- ``one-sided``: the leading triples of G (X^T X + eps I)^-1, scaled on the side of the inputs only. Without eps it is
  the least change that moves these tokens' outputs along -D, whatever else their inputs have in common.

Steps are linearised anew by whoever takes them, added up here, and cut back to rank k by the SVD of their factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import torch
from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.subspace.factor import Factors, factored_svds

__all__ = ["Rule", "Steps", "averaged", "scaled", "smallest_dose"]

_RIDGE = 1e-2
"""``eps`` of one-sided steps, in units of the mean energy of a token's input."""


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

    def __init__(self, *, rank: int, rule: Rule = Rule.SPECTRAL, gains: Mapping[str, float] | None = None) -> None:
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
        self._sum = _cut(self.trial(direction, dose), self._rank)

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


def _one_sided(factors: Factors) -> Factors:
    """Factors of G (X^T X + eps I)^-1 = D^T (X X^T + eps I)^-1 X (push-through identity)."""
    x, d = factors.x.double(), factors.d.double()
    energies = x @ x.T
    energies.diagonal().add_(_RIDGE * energies.diagonal().mean())
    weighted: Tensor = torch.linalg.solve(energies, d)
    return Factors(d=weighted.to(torch.float32), x=factors.x)


def _cut(adapter: Adapter, rank: int) -> Adapter:
    """The nearest change of a rank: A with orthonormal rows."""
    spectra = factored_svds({n: Factors(d=b.T, x=a) for n, (a, b) in adapter.items()}, rank)
    return {n: (one.v.T.contiguous(), one.u * one.s) for n, one in spectra.items()}


def scaled(adapter: Adapter, dose: float) -> Adapter:
    """``dose`` times a change."""
    return {n: (a, dose * b) for n, (a, b) in adapter.items()}


@torch.no_grad()
def averaged(adapters: Sequence[Adapter], rank: int) -> Adapter:
    """The mean of changes of the same modules, cut back to a rank: float32, A (r, d_in) with orthonormal rows."""
    stacked = {
        name: (
            torch.cat([each[name][0].float() for each in adapters]),
            torch.cat([each[name][1].float() / len(adapters) for each in adapters], dim=1),
        )
        for name in adapters[0]
    }
    return _cut(stacked, rank)


def smallest_dose(
    passes: Callable[[float], bool], *, lower: float = 0.0, upper: float, within: float
) -> float | None:
    """Bisect for the smallest dose that passes a gate, taking for granted that larger ones up to ``upper`` do.

    Args:
        passes: Whether the gate is passed at a dose.
        lower: A dose that is too small.
        within: How near to the answer to come.

    Returns:
        The smallest dose that was seen to pass; ``None`` where ``upper`` fails.
    """
    if not passes(upper):
        return None
    low, high = lower, upper
    while high - low > within:
        middle = (low + high) / 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
