"""What a sketch of safety gradients covers: energies by category and matrix, a category left out, drift.

Every example counts alike: its gradients are scaled to an energy of 1 over all matrices, so that a request that the
model finds harder to refuse does not outweigh the others, while matrices keep their shares. Energies are then means
over examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.modules import matrices
from remediation.errors import SketchError
from remediation.living_subspace import CONTROLS, Measured, ModuleCoverage, Shares, Side, SubspaceDrift
from remediation.subspace.capture import gradient_factors
from remediation.subspace.draws import Held, Tokens
from remediation.subspace.factor import Factors
from remediation.subspace.sketch import Basis, Energy, Sketch, captured, merge, principal_cosines

__all__ = [
    "Bases",
    "Measurement",
    "Sketches",
    "bases_of",
    "drift_between",
    "fresh_sketch",
    "left_out_bases",
    "measure",
    "merged",
    "module_coverage",
]

Sketches = Mapping[str, Sketch]
"""By module name."""
Bases = Mapping[str, Basis]
_REQUESTS = "requests"
_NONE = Energy()
"""Of a matrix that no token came to, as of most experts of a mixture in a short text."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread while inside: for matrices as small as a text is long, threads wait more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(slots=True)
class Measurement:
    """Energies inside one subspace, by what was measured and by module; they add up over examples.

    Attributes:
        energies: By ``requests`` or a control's name, then by module.
        loss: Sum of the losses of the requests, nats.
        examples: How many requests.
    """

    energies: dict[str, dict[str, Energy]] = field(default_factory=dict)
    loss: float = 0.0
    examples: int = 0

    def add(self, what: str, found: Mapping[str, Energy]) -> None:
        """Take in one example."""
        sums = self.energies.setdefault(what, {})
        for module, energy in found.items():
            sums[module] = sums.get(module, Energy()) + energy

    def combined(self, other: Measurement) -> Measurement:
        """Add up two measurements."""
        both = Measurement(loss=self.loss + other.loss, examples=self.examples + other.examples)
        for each in (self, other):
            for what, found in each.energies.items():
                both.add(what, found)
        return both

    def shares(self, bases: Bases, modules: Iterable[str] | None = None) -> Measured:
        """Shares of the energy, over some modules or all."""
        of = list(modules if modules is not None else bases)
        found = {w: _shares(reduce(Energy.__add__, (e.get(m, _NONE) for m in of))) for w, e in self.energies.items()}
        controls = {n: found[n] for n in CONTROLS if n in found} | {CONTROLS[-1]: self._chance(bases, of)}
        return Measured(requests=found[_REQUESTS], controls=controls)

    def _chance(self, bases: Bases, of: Sequence[str]) -> Shares:
        """Expected shares inside random subspaces of the same ranks: r / d on each side."""
        total = Energy()
        for module in of:
            u, v = (side.shape[1] / side.shape[0] for side in (bases[module].u, bases[module].v))
            whole = self.energies[_REQUESTS].get(module, _NONE).whole
            total += Energy(whole=whole, left=u * whole, right=v * whole, both=u * v * whole)
        return _shares(total)


def fresh_sketch(chat: ChatModel, examples: Iterable[Tokens], size: int, done: Callable[[], None]) -> Sketches:
    """Sketch examples' gradients, each of energy 1 over all matrices."""
    found = {n: Sketch.empty(*m.shape, size) for n, m in matrices(chat.model).items()}
    for example in examples:
        _, factors, weight = _gradient(chat, example)
        with _one_thread():
            for name, one in factors.items():
                found[name] = found[name].added(one, weight=weight)
        done()
    return found


@_one_thread()
def merged(sketches: Sequence[Sketches]) -> Sketches:
    """Merge sketches of one model, matrix by matrix."""
    return {name: merge(s[name] for s in sketches) for name in sketches[0]}


@_one_thread()
def bases_of(sketches: Sketches, rank: int) -> Bases:
    """Leading directions of each matrix."""
    return {name: sketch.basis(rank) for name, sketch in sketches.items()}


@_one_thread()
def left_out_bases(by_category: Mapping[str, Sketches], rank: int) -> dict[str, Bases]:
    """For each category, the subspace of all the others; from merges of what stands before it and what after it."""
    names = list(by_category)
    found: dict[str, dict[str, Basis]] = {n: {} for n in names}
    if len(names) < 2:
        return {}
    for module in by_category[names[0]]:
        its = [by_category[n][module] for n in names]
        before, after = [its[0]], [its[-1]]
        for i in range(1, len(its) - 1):
            before.append(before[-1].merged(its[i]))
            after.append(after[-1].merged(its[-1 - i]))
        for i, name in enumerate(names):
            others = [*before[i - 1 : i], *after[len(its) - 2 - i : len(its) - 1 - i]] if i else [after[-1]]
            found[name][module] = merge(others).basis(rank)
    return dict(found)


def measure(
    chat: ChatModel, held: Iterable[Held], views: Mapping[str, Bases], done: Callable[[], None]
) -> dict[str, Measurement]:
    """Measure requests and their controls inside several subspaces at once."""
    found = {view: Measurement() for view in views}
    for one in held:
        for what, example in ((_REQUESTS, one.request), *one.controls.items()):
            loss, factors, weight = _gradient(chat, example)
            for view, bases in views.items():
                with _one_thread():
                    inside = {n: captured(f, bases[n]).scaled(weight) for n, f in factors.items()}
                found[view].add(what, inside)
                if what == _REQUESTS:
                    found[view].loss += loss
                    found[view].examples += 1
            done()
    return found


def module_coverage(measured: Measurement, bases: Bases, state: Sketches) -> tuple[ModuleCoverage, ...]:
    """Say what each matrix has of the energy, and how much of its own is inside."""
    wholes = {n: measured.energies[_REQUESTS].get(n, _NONE).whole for n in bases}
    return tuple(
        ModuleCoverage(
            module=name,
            share=wholes[name] / sum(wholes.values()),
            inside=measured.shares(bases, [name]),
            lost_left=_share(state[name].left.lowered, state[name].left.energy),
            lost_right=_share(state[name].right.lowered, state[name].right.energy),
        )
        for name in bases
    )


@_one_thread()
def drift_between(
    before: Bases, after: Bases, fresh: Bases, held: Bases, energies: Mapping[str, float]
) -> SubspaceDrift:
    """Compare the sketch before an update with the one after it and with what came in.

    Args:
        fresh: Of this update's requests alone.
        held: Of its held requests alone: how far two draws from one model differ.
        energies: Weight of each matrix.
    """

    def side(name: str) -> Side:
        sums = [0.0] * 5
        for module, weight in energies.items():
            was, now, new, other = (getattr(b[module], name) for b in (before, after, fresh, held))
            cosines = principal_cosines(was, new)
            angle = math.degrees(float(cosines.acos().mean())) if len(cosines) else 90.0
            values = (_phi(was, new), angle, _phi(was, now), _phi(new, other),
                      max(was.shape[1], new.shape[1]) / was.shape[0])  # fmt: skip
            sums = [s + weight * v for s, v in zip(sums, values, strict=True)]
        fresh_, angle, state, resampled, chance = (s / sum(energies.values()) for s in sums)
        return Side(fresh=fresh_, fresh_angle=angle, state=state, resampled=resampled, chance=chance)

    return SubspaceDrift(left=side("u"), right=side("v"))


def _gradient(chat: ChatModel, example: Tokens) -> tuple[float, dict[str, Factors], float]:
    """Return loss, factors, and the weight that makes the energy 1.

    Raises:
        SketchError: The gradient is zero or not finite.
    """
    loss, factors = gradient_factors(chat, example.prompt, example.answer)
    with _one_thread():
        whole = sum(_energy(f) for f in factors.values())
    if not math.isfinite(whole) or whole <= 0.0:
        raise SketchError(
            f"the gradient of a refusal has an energy of {whole:g} and gives no direction; check the model's weights"
        )
    return loss, factors, 1.0 / whole


def _energy(factors: Factors) -> float:
    d, x = factors.d.double(), factors.x.double()
    return float(((d @ d.T) * (x @ x.T)).sum())


def _phi(first: Tensor, second: Tensor) -> float:
    cosines = principal_cosines(first, second)
    return float(cosines.square().mean()) if len(cosines) else 0.0


def _shares(energy: Energy) -> Shares:
    return Shares(
        left=_share(energy.left, energy.whole), right=_share(energy.right, energy.whole),
        both=_share(energy.both, energy.whole),
    )  # fmt: skip


def _share(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 0.0
