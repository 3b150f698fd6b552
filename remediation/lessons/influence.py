"""What the step on one example does to other texts, from one backward pass an example and factors alone.

To first order a change D of a matrix moves a loss by <G, D>. A row's gradient is kept in factors, G = d^T x, and a
step as D = left right^T, so that <G, D> = sum over (d left) * (x right): no matrix is ever formed. Summed over
matrices and divided by no optimiser this is TracIn's influence (Pruthi et al. 2020, arXiv 2002.08484, section 3), for
the step that a recipe takes instead of the raw gradient; Xia et al. 2024 (LESS, arXiv 2402.04333) choose fine-tuning
data so.

What a step does to harmless answers has no first order: for y drawn from the model itself,
KL(p(y|x) || p'(y|x)) = 1/2 E[<g, D>^2] + O(|D|^3), g = grad log p(y|x), because E[g] = 0 (Kullback 1959, chapter 2,
section 6). Answers must therefore be *drawn*: with greedy ones E[g] is not zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel
from remediation.fixtures import Row
from remediation.subspace.capture import Example, examples_of, gradient_factors
from remediation.subspace.factor import Factors, factored_svd
from remediation.subspace.step import Rule, Steps

__all__ = [
    "Change",
    "Gradients",
    "Influence",
    "Step",
    "Yardstick",
    "gradients",
    "influence",
    "modules_of",
    "rule_step",
    "sampled",
    "yardstick",
]

Change = tuple[Tensor, Tensor]
"""left (d_out, k) and right (d_in, k); the matrix moves by left right^T."""
Step = Callable[[Factors, nn.Linear], Change]
"""What a recipe does to a module whose loss has this gradient."""

_BLOCK = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Gradients of several rows' mean cross-entropies, in factors.

    Attributes:
        losses: (rows,), nats a token.
        tokens: (rows,), tokens of each answer.
        factors: By module name; the rows' factors one below the other.
        owner: By module name, (sum of ranks,): which row each factor belongs to.
    """

    losses: Tensor
    tokens: Tensor
    factors: Mapping[str, Factors]
    owner: Mapping[str, Tensor]

    def along(self, changes: Mapping[str, Change]) -> Tensor:
        """Derivative of each row's loss along a change, (rows,), float64; modules that are not there count nothing."""
        total = torch.zeros(len(self.losses), dtype=torch.float64, device="cpu")
        for name, (left, right) in changes.items():
            if name in self.factors:
                one = self.factors[name]
                each = ((one.d @ left.to(one.d.dtype)) * (one.x @ right.to(one.x.dtype))).sum(dim=1)
                total.index_add_(0, self.owner[name], each.double().cpu())
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What candidates are held against.

    Attributes:
        held_out: Refusals of harmful requests that no candidate asks.
        harmless: Answers to harmless requests, drawn from the model itself.
        modules: The modules that count.
    """

    held_out: Gradients
    harmless: Gradients
    modules: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """Predicted effects of each candidate's step. All float64, nats a token.

    Attributes:
        loss: (candidates,), each one's own loss before the step.
        held_loss: (held-out rows,), losses before the step.
        decrease: (candidates, held-out rows), first-order decrease of those losses.
        harmless: (candidates, harmless rows), so scaled that half the mean square of a sum of rows is the KL
            divergence, per token, of the sum of their steps.
    """

    loss: Tensor
    held_loss: Tensor
    decrease: Tensor
    harmless: Tensor


def rule_step(*, rank: int, dose: float, rule: Rule = Rule.SPECTRAL) -> Step:
    """The step of a recipe: of a rule, its dose in units of the matrix's root mean square gain."""

    def step(factors: Factors, module: nn.Linear) -> Change:
        weight = module.weight.detach()
        gain = float(weight.norm()) / math.sqrt(min(weight.shape))
        found = Steps(rank=rank, rule=rule, gains={"": gain}).direction({"": factors})
        if not found:
            return weight.new_zeros(weight.shape[0], 1), weight.new_zeros(weight.shape[1], 1)
        a, b = found[""]
        return dose * b, a.T

    return step


def modules_of(chat: ChatModel, *, every: int = 1, pattern: str = "") -> list[str]:
    """Names of the linear modules that a regular expression finds in every n-th block, the last block among them."""
    names = [n for n in chat.linears() if re.search(pattern, n)]
    blocks = {n: int(m[1]) if (m := _BLOCK.search(n)) else 0 for n in names}
    last = max(blocks.values(), default=0)
    return [n for n, block in blocks.items() if (last - block) % every == 0]


def gradients(chat: ChatModel, rows: Sequence[Example], modules: Collection[str], *, kept: int) -> Gradients:
    """Take each row's gradient, one backward pass each.

    Args:
        modules: Whose factors to keep.
        kept: Leading singular triples to keep of each row's factors: 8 hold the memory to a few rows' inputs. A
            row with no more tokens than that is kept whole.

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError("no row to take a gradient of")
    losses: list[float] = []
    d: dict[str, list[Tensor]] = {n: [] for n in modules}
    x: dict[str, list[Tensor]] = {n: [] for n in modules}
    owner: dict[str, list[int]] = {n: [] for n in modules}
    for i, (prompt, answer) in enumerate(rows):
        loss, factors = gradient_factors(chat, prompt, answer)
        losses.append(loss)
        for name in modules:
            if name in factors:
                one = _truncated(factors[name], kept)
                d[name].append(one.d)
                x[name].append(one.x)
                owner[name] += [i] * len(one.d)
    found = [n for n in modules if d[n]]
    return Gradients(
        losses=_counted(losses),
        tokens=_counted([len(a) for _, a in rows]),
        factors={n: Factors(d=torch.cat(d[n]), x=torch.cat(x[n])) for n in found},
        owner={n: torch.tensor(owner[n], device="cpu") for n in found},
    )


def _counted(values: Sequence[float]) -> Tensor:
    """On the processor, wherever torch makes tensors by default: what is ranked is small."""
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def _truncated(factors: Factors, kept: int) -> Factors:
    if len(factors.d) <= kept:
        return factors
    lead = factored_svd(factors).lead(kept)
    return Factors(d=(lead.u * lead.s).T, x=lead.v.T)


def sampled(chat: ChatModel, prompts: Sequence[str], *, tokens: int, seed: int) -> list[Example]:
    """Draw an answer to each prompt from the model itself, at temperature 1 and with nothing cut off or penalised.

    Its own generation settings have no say: the gradient of a draw is zero on average under no other distribution.

    Args:
        tokens: New tokens at most.
        seed: Decides what is drawn.
    """
    asked = [chat.prompt_ids(p) for p in prompts]
    return [Example(q, a) for q, a in zip(asked, chat.generate_ids(asked, max_tokens=tokens, drawn=seed), strict=True)]


def yardstick(
    chat: ChatModel, held_out: Sequence[Row], harmless: Sequence[Example], *, every: int = 3, kept: int = 8,
    pattern: str = "",
) -> Yardstick:
    """Take the gradients that candidates are held against; one backward pass a row.

    Args:
        held_out: Harmful requests with refusals.
        harmless: Harmless requests with answers that :func:`sampled` drew from this very model.
        every: Count every n-th block's modules alone: what is predicted is then the step in those blocks. Every third
            of 30 blocks ranked 24 candidates as all did (Spearman 1.00), for a third of the SVDs, half of the work.
        kept: Leading singular triples to keep of each row's gradient in each module.
        pattern: Count the modules whose names it finds alone.
    """
    modules = modules_of(chat, every=every, pattern=pattern)
    return Yardstick(
        held_out=gradients(chat, examples_of(chat, held_out), modules, kept=kept),
        harmless=gradients(chat, harmless, modules, kept=kept),
        modules=modules,
    )


def influence(chat: ChatModel, candidates: Sequence[Row], yard: Yardstick, step: Step) -> Influence:
    """Predict what each candidate's step would do; one backward pass a candidate.

    Args:
        candidates: Harmful requests with refusals, none of them held out.
        step: The step that the recipe would take.

    Raises:
        ValueError: There is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate to choose from")
    linears = chat.linears()
    losses, decrease, harmless = [], [], []
    for prompt, answer in examples_of(chat, candidates):
        loss, factors = gradient_factors(chat, prompt, answer)
        changes = {n: step(factors[n], linears[n]) for n in yard.modules if n in factors}
        losses.append(loss)
        decrease.append(-yard.held_out.along(changes))
        harmless.append(yard.harmless.along(changes) * yard.harmless.tokens.sqrt())
    return Influence(
        loss=_counted(losses),
        held_loss=yard.held_out.losses,
        decrease=torch.stack(decrease),
        harmless=torch.stack(harmless),
    )
