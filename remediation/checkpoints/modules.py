"""Which matrices of a model a patch may change, and what runs through them.

A matrix is the weight of a module that acts linearly, y = W x + b: a plain linear layer or one whose weights are kept
in eight or four bits or off the device, fused ones (``qkv_proj``, ``gate_up_proj``) included; or one expert's slice of
a mixture's three-dimensional parameter, which is named ``<experts>.<number>.<parameter>``. Never the output head nor a
router, unless asked: a patch of those changes what every token costs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from remediation.errors import PatchFailed

__all__ = ["Matrix", "Tap", "Targets", "matrices", "tapped"]

_ROUTER = re.compile(r"(^|\.)(gate|router|wg|shared_expert_gate)$")
_PROBED = 512
"""Rows of the identity that go through a module at once."""
_EXPERT_PARAMETERS = ("gate_up_proj", "up_proj", "down_proj")

Tap = Callable[[str, Tensor, Tensor, Tensor | None], Tensor | None]
"""Called with a matrix's name, its input, its output, and for an expert the numbers of the tokens that came to it
(rows of the flattened batch); may return another output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Which matrices.

    Attributes:
        pattern: Regular expression, searched for in the dotted name; all, if empty.
        head: Whether the output head may be among them.
        routers: Whether what chooses experts may be among them.
    """

    pattern: str = ""
    head: bool = False
    routers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A weight that acts linearly.

    Attributes:
        module: Whose forward pass applies it.
        shape: (d_out, d_in).
        dtype: Of its inputs.
        expert: Its number, where it is a slice of ``parameter``.
        parameter: Name of the three-dimensional parameter that holds it.
        transposed: Whether it is stored (d_in, d_out).
    """

    name: str
    module: nn.Module
    shape: tuple[int, int]
    dtype: torch.dtype
    expert: int | None = None
    parameter: str = "weight"
    transposed: bool = False

    @property
    def plain(self) -> bool:
        """Whether the weight can be read, and changed, as it stands: not so where it is quantised."""
        return self.expert is not None or _plain(self.module)

    @torch.no_grad()
    def dense(self) -> Tensor:
        """The weight in float32, (d_out, d_in); a quantised one as what its module does to the identity."""
        from accelerate.utils import align_module_device

        with align_module_device(self.module):
            if not self.plain:
                return self._probed()
            weight = getattr(self.module, self.parameter)
            kept: Tensor = weight if self.expert is None else weight[self.expert]
            return (kept.T if self.transposed else kept).float().clone()

    def gain(self) -> float:
        """Root mean square gain, ``|W|_F / sqrt(min(d_out, d_in))``: what a step's size is measured in."""
        return float(self.dense().norm()) / math.sqrt(min(self.shape))

    def _probed(self) -> Tensor:
        d_out, d_in = self.shape
        device = next((t.device for t in self.module.state_dict().values() if isinstance(t, Tensor)), None)
        offset = self.module(torch.zeros(1, d_in, dtype=self.dtype, device=device)).float()
        found = torch.empty(d_out, d_in, device=device)
        for start in range(0, d_in, _PROBED):
            rows = torch.zeros(min(_PROBED, d_in - start), d_in, dtype=self.dtype, device=device)
            rows[:, start:].fill_diagonal_(1.0)
            found[:, start : start + len(rows)] = (self.module(rows).float() - offset).T
        return found


def matrices(model: Any, targets: Targets = Targets()) -> dict[str, Matrix]:  # noqa: ANN401 - of any class
    """Find a model's matrices by dotted name, in the order of its modules.

    Raises:
        PatchFailed: None is left, or the pattern is no regular expression.
    """
    try:
        pattern = re.compile(targets.pattern)
    except re.error as error:
        raise PatchFailed(f"targets {targets.pattern!r} is no regular expression: {error}") from error
    head, dtype = model.get_output_embeddings(), model.get_input_embeddings().weight.dtype
    found: dict[str, Matrix] = {}
    for name, module in model.named_modules():
        if (module is head and not targets.head) or (_ROUTER.search(name) and not targets.routers):
            continue
        for one in (*_linear(name, module, dtype), *_experts(name, module, dtype)):
            if pattern.search(one.name):
                found[one.name] = one
    if not found:
        named = f"matches {targets.pattern!r}" if targets.pattern else "is known to act linearly"
        raise PatchFailed(f"no module of {type(model).__name__} {named}; see its named_modules() for what there is")
    return found


def _linear(name: str, module: nn.Module, dtype: torch.dtype) -> Iterator[Matrix]:
    """A leaf that says how wide its two sides are, as all linear layers do, quantised ones too."""
    sides = _sides(module)
    if sides and not any(_sides(child) for part, child in module.named_modules() if part):
        transposed = not hasattr(module, "in_features")
        yield Matrix(name=name, module=module, shape=sides, dtype=dtype, transposed=transposed)


def _sides(module: nn.Module) -> tuple[int, int] | None:
    for names in (("out_features", "in_features"), ("nf", "nx")):  # GPT-2's Conv1D says nf and nx
        d_out, d_in = (getattr(module, n, None) for n in names)
        if isinstance(d_out, int) and isinstance(d_in, int):
            return d_out, d_in
    return None


def _plain(module: nn.Module) -> bool:
    """Whether the weight can be read as it stands."""
    weight: Any = getattr(module, "weight", None)
    return type(weight) in {Tensor, nn.Parameter} and weight.dtype in {torch.float64, torch.float32, torch.float16,
                                                                        torch.bfloat16}  # fmt: skip


def _experts(name: str, module: nn.Module, dtype: torch.dtype) -> Iterator[Matrix]:
    """The slices of fused experts, as all mixtures of transformers keep them."""
    if not hasattr(module, "is_transposed"):
        return
    for parameter in _EXPERT_PARAMETERS:
        weight = getattr(module, parameter, None)
        if isinstance(weight, Tensor) and weight.ndim == 3:
            count, first, second = weight.shape
            shape = (second, first) if module.is_transposed else (first, second)
            for expert in range(count):
                yield Matrix(
                    name=f"{name}.{expert}.{parameter}", module=module, shape=shape, dtype=dtype, expert=expert,
                    parameter=parameter, transposed=bool(module.is_transposed),
                )  # fmt: skip


@contextmanager
def tapped(chosen: Mapping[str, Matrix], tap: Tap) -> Iterator[None]:
    """Call ``tap`` for each pass through the matrices while inside; taps may be nested, the outer one comes first."""
    undo: list[Callable[[], None]] = []
    experts: dict[nn.Module, dict[tuple[str, int], str]] = {}
    try:
        for name, one in chosen.items():
            if one.expert is None:
                undo.append(one.module.register_forward_hook(_hook(name, tap)).remove)
            else:
                experts.setdefault(one.module, {})[one.parameter, one.expert] = name
        undo.extend(_tap_experts(module, names, tap) for module, names in experts.items())
        yield
    finally:
        for each in undo:
            each()


def _hook(name: str, tap: Tap) -> Any:  # noqa: ANN401 - torch types its hooks no closer
    def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        return tap(name, given[0], out, None)

    return hook


def _tap_experts(module: nn.Module, names: dict[tuple[str, int], str], tap: Tap) -> Callable[[], None]:
    """Put an expert by expert pass in place of the module's own, inside what accelerate may have put around it."""
    place = "_old_forward" if "_old_forward" in module.__dict__ else "forward"
    before = module.__dict__.get(place)
    passing = before if isinstance(before, _ExpertPass) else _ExpertPass(module)
    entry = (names, tap)
    passing.taps.append(entry)
    setattr(module, place, passing)

    def undo() -> None:
        passing.taps.remove(entry)
        if passing is before:
            return
        if before is None:
            delattr(module, place)
        else:
            setattr(module, place, before)

    return undo


class _ExpertPass:
    """The forward pass of a mixture's experts, one after the other."""

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        self.taps: list[tuple[dict[tuple[str, int], str], Tap]] = []

    def __call__(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """(tokens, d) with the chosen experts of each, (tokens, k), and their weights, to (tokens, d)."""
        said = torch.zeros_like(hidden_states)
        first = "gate_up_proj" if self.module.has_gate else "up_proj"
        for expert in sorted(set(top_k_index.flatten().tolist())):
            if expert >= self.module.num_experts:  # those of other devices
                continue
            tokens, place = torch.where(top_k_index == expert)
            inner = self._linear(first, expert, hidden_states[tokens], tokens)
            inner = self.module._apply_gate(inner) if self.module.has_gate else self.module.act_fn(inner)  # noqa: SLF001
            out = self._linear("down_proj", expert, inner, tokens) * top_k_weights[tokens, place, None]
            said = said.index_add(0, tokens, out.to(said.dtype))
        return said

    def _linear(self, parameter: str, expert: int, x: Tensor, tokens: Tensor) -> Tensor:
        weight = getattr(self.module, parameter)[expert]
        bias = getattr(self.module, f"{parameter}_bias")[expert] if self.module.has_bias else None
        out = nn.functional.linear(x, weight.T if self.module.is_transposed else weight, bias)
        for names, tap in self.taps:
            if (name := names.get((parameter, expert))) is not None:
                other = tap(name, x, out, tokens)
                out = out if other is None else other
        return out
